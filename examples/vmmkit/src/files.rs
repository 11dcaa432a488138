//! The files that one command line names, and how they are opened: nothing is written over what something else
//! is, and files for output are made when all else is known to work.

use std::path::{Path, PathBuf};

use vmmkit_assembly::{
    FileFault, FileOwner, NamedFile, Role, check_files, device_files, machine_files,
};
use vmmkit_host_io::{Listener, Sharing};
use vmmkit_machine_spec::{ConsoleSpec, Field};

use crate::failure::Failure;
use crate::settings::Settings;

use crate::{build_failure, gdb, options};

/// Advice where output cannot be written.
pub(crate) const NEXT: &str = "check the path, its permissions and the space there";

/// The same, for the end of a console at `place`.
pub(crate) fn next_of(place: &ConsoleSpec) -> &'static str {
    match place {
        ConsoleSpec::Socket(_) => "give the path of a new file in a folder of yours",
        _ => NEXT,
    }
}

/// Checks every file of `settings` and changes none: no two options may mean one file where that
/// would destroy it, and what is for output can be written. The sockets that clients come to.
pub(crate) fn check(settings: &Settings) -> Result<Vec<PathBuf>, Failure> {
    let files = named(settings);
    check_files(&files).map_err(|fault| match fault {
        FileFault::Shared { output, other } => Failure::because(
            format!("{output}: {other} is the same file"),
            Vec::new(),
            "give each a file of its own",
        ),
        FileFault::Output { owner, source } => Failure::host(owner, &source, NEXT),
        fault => Failure::because(format!("{fault:?}"), Vec::new(), NEXT),
    })?;
    let ram = &settings.machine.ram;
    ram.check_file().map_err(|error| {
        let what = format!("--memory {}", settings.spec.value(Field::Memory));
        Failure::host(&what, &error, build_failure::of_memory(&error))
    })?;
    let sockets = files.into_iter().filter(|it| it.role == Role::Socket);
    Ok(sockets.map(|it| it.path).collect())
}

/// Checks the places of sockets that are made only when a guest is to run.
pub(crate) fn check_sockets(settings: &Settings) -> Result<(), Failure> {
    let serial = settings.spec.serial_console();
    let serial = match &serial {
        ConsoleSpec::Socket(path) => Some(("--serial socket=", path.as_path())),
        _ => None,
    };
    let api = settings.control.socket.as_deref();
    let gdb = settings.gdb.as_ref().and_then(gdb::socket);
    let all = [
        serial,
        api.map(|path| ("--api-socket ", path)),
        gdb.map(|path| ("--gdb unix:", path)),
    ];
    for (option, path) in all.into_iter().flatten() {
        Listener::check(path).map_err(|error| {
            let what = format!("{option}{}", path.display());
            Failure::host(
                &what,
                &error,
                "give the path of a new file in a folder of yours",
            )
        })?;
    }
    Ok(())
}

/// All files that `settings` name, each with its option as messages say it.
pub(crate) fn named(settings: &Settings) -> Vec<NamedFile<String>> {
    let spec = &settings.spec;
    let by_option = |file: NamedFile<FileOwner>| file.map(|owner| option(&owner, settings));
    let config = settings.config.iter().map(|path| {
        let option = format!("--config {}", path.display());
        NamedFile::new(option, path, Role::Input)
    });
    let machine = machine_files(spec).into_iter().map(by_option);
    let devices = device_files(spec).into_iter().map(by_option);
    let own = of_run(settings);
    config.chain(machine).chain(own).chain(devices).collect()
}

/// The option of `owner`, with its value.
fn option(owner: &FileOwner, settings: &Settings) -> String {
    match owner {
        FileOwner::Field(field) => options::shown(&settings.spec, *field, &settings.device_texts),
        FileOwner::Backing(field, path) => {
            let disk = options::shown(&settings.spec, *field, &settings.device_texts);
            format!("backing file {} of {disk}", path.display())
        }
        _ => "stdout".to_owned(),
    }
}

/// Those of options that are not the machine's.
fn of_run(settings: &Settings) -> Vec<NamedFile<String>> {
    let mut all = Vec::new();
    let mut add = |option: String, path: Option<&Path>, role| {
        all.extend(path.map(|path| NamedFile::new(option, path, role)));
    };
    let gdb = settings.gdb.as_ref().and_then(gdb::socket);
    add("--gdb".to_owned(), gdb, Role::Socket);
    let api = settings.control.socket.as_deref();
    add("--api-socket".to_owned(), api, Role::Socket);
    if let Some(metrics) = &settings.metrics {
        let path = Some(metrics.path());
        add(format!("--metrics {metrics}"), path, Role::Report);
    }
    if let Some(timeline) = &settings.timeline {
        let path = Some(timeline.path());
        add(format!("--timeline {timeline}"), path, Role::Report);
    }
    if let Some(log) = &settings.log {
        let role = Role::Output(Sharing::Lines);
        add(format!("--log {log}"), log.file(), role);
    }
    all
}
