//! The files that one command line names, and what is done with each: nothing is written over what
//! something else is, and files for output are made when all else is known to work.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use vmmkit_guest_memory::Backing;
use vmmkit_host_io::{FileId, LeftOver, Output, OutputPlan, Sharing, lock_file, open_options};

use crate::devices::Choice;
use crate::failure::Failure;
use crate::log::LogFile;
use crate::platform::DebugChoice;
use crate::serial::SerialChoice;
use crate::settings::Settings;
use crate::{gdb, memory};

/// What to do where output cannot be written.
pub(crate) const NEXT: &str = "check the path, its permissions and the space there";

/// What is done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is read.
    Input,
    /// A guest has it as its disk. Two that are the same file keep each other out by locks.
    Disk,
    /// It is the guest's RAM.
    Ram,
    /// Bytes are added to it.
    Output(Sharing),
    /// It is replaced as a whole.
    Report,
    /// Clients come to it. One that a process has left behind is replaced.
    Socket,
    /// It is this process's stdout, and may be that of others.
    Stream,
}

/// A file that an option names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// The option with its value, as messages say it.
    pub(crate) option: String,
    /// The file.
    pub(crate) path: PathBuf,
    /// What is done with it.
    pub(crate) role: Role,
}

impl Named {
    /// `path`, which `option` names.
    pub(crate) fn new(option: String, path: &Path, role: Role) -> Self {
        Self {
            option,
            path: path.to_owned(),
            role,
        }
    }
}

impl Role {
    /// Whether one file may be both.
    fn goes_with(self, other: Self) -> bool {
        let is_given = |role| matches!(role, Self::Input | Self::Disk);
        match (self, other) {
            (Self::Stream, Self::Output(_) | Self::Report | Self::Stream)
            | (Self::Output(_) | Self::Report, Self::Stream) => true,
            (one, other) => is_given(one) && is_given(other),
        }
    }

    fn is_written(self) -> bool {
        matches!(self, Self::Output(_) | Self::Report)
    }
}

/// Checks every file of `settings` and changes none: no two options may mean one file where that
/// would destroy it, and what is for output can be written. The sockets that clients come to.
pub(crate) fn check(settings: &Settings) -> Result<Vec<PathBuf>, Failure> {
    let named = named(settings);
    let mut known: Vec<(FileId, &Named)> = Vec::new();
    for one in &named {
        let id = match one.role {
            Role::Stream => stdout_id(),
            _ => FileId::of_path(&one.path),
        };
        let Some(id) = id else {
            continue;
        };
        let same = known
            .iter()
            .find(|(it, other)| *it == id && !one.role.goes_with(other.role));
        if let Some((_, other)) = same {
            return Err(conflict(one, other));
        }
        known.push((id, one));
    }
    named.iter().try_for_each(check_output)?;
    let ram = &settings.machine.ram;
    ram.check_file().map_err(|error| {
        let what = format!("--memory {}", memory::text(ram));
        Failure::host(&what, &error, memory::advice(&error))
    })?;
    let sockets = named.into_iter().filter(|it| it.role == Role::Socket);
    Ok(sockets.map(|it| it.path).collect())
}

fn conflict(one: &Named, other: &Named) -> Failure {
    let (output, other) = match one.role.is_written() {
        true => (one, other),
        false => (other, one),
    };
    Failure::because(
        format!("{}: {} is the same file", output.option, other.option),
        Vec::new(),
        "give each a file of its own",
    )
}

fn check_output(named: &Named) -> Result<(), Failure> {
    let sharing = match named.role {
        Role::Output(sharing) => sharing,
        Role::Report => Sharing::Alone,
        _ => return Ok(()),
    };
    let plan = OutputPlan::new(&named.path, sharing);
    plan.map(drop)
        .map_err(|error| Failure::host(&named.option, &error, NEXT))
}

/// All files that `settings` name.
fn named(settings: &Settings) -> Vec<Named> {
    let machine = &settings.machine;
    let image = machine.boot.image().path();
    let kernel = machine.boot.as_kernel();
    let initrd = kernel.and_then(|kernel| kernel.initrd.as_ref()?.file.path());
    let image_option = kernel.map_or("--firmware", |_| "--kernel");
    let inputs = [
        ("--config", settings.config.as_deref()),
        (image_option, image),
        ("--initrd", initrd),
    ];
    let mut all = Vec::new();
    for (option, path) in inputs {
        let Some(path) = path else {
            continue;
        };
        let option = format!("{option} {}", path.display());
        all.push(Named::new(option, path, Role::Input));
    }
    if let Backing::File(path) = &machine.ram.backing {
        let option = format!("--memory {}", memory::text(&machine.ram));
        all.push(Named::new(option, path, Role::Ram));
    }
    all.extend(settings.devices.iter().flat_map(|choice| choice.files()));
    if let SerialChoice::File(path) = &settings.serial {
        let option = format!("--serial {}", settings.serial);
        all.push(Named::new(option, path, Role::Output(Sharing::Alone)));
    }
    let sockets = [
        (
            settings.serial.socket(),
            format!("--serial {}", settings.serial),
        ),
        (
            settings.gdb.as_ref().and_then(gdb::socket),
            "--gdb".to_owned(),
        ),
        (
            settings.control.socket.as_deref(),
            "--api-socket".to_owned(),
        ),
    ];
    for (path, option) in sockets {
        if let Some(path) = path {
            all.push(Named::new(option, path, Role::Socket));
        }
    }
    if let DebugChoice::File(path) = &settings.debug_port {
        let option = format!("--debug-port {}", settings.debug_port);
        all.push(Named::new(option, path, Role::Output(Sharing::Alone)));
    }
    if let Some(metrics) = &settings.metrics {
        let option = format!("--metrics {metrics}");
        all.push(Named::new(option, metrics.path(), Role::Report));
    }
    if let Some(timeline) = &settings.timeline {
        let option = format!("--timeline {timeline}");
        all.push(Named::new(option, timeline.path(), Role::Report));
    }
    if let Some((log, path)) = settings
        .log
        .as_ref()
        .and_then(|log| Some((log, log.file()?)))
    {
        let option = format!("--log {log}");
        all.push(Named::new(option, path, Role::Output(Sharing::Lines)));
    }
    if uses_stdout(settings) {
        let option = "stdout".to_owned();
        all.push(Named::new(option, Path::new(""), Role::Stream));
    }
    all
}

fn uses_stdout(settings: &Settings) -> bool {
    let is_stdio = |choice: &dyn Choice| choice.option() == ("--console", Some("stdio".into()));
    settings.serial == SerialChoice::Stdio
        || settings.devices.iter().any(|choice| is_stdio(&**choice))
}

fn stdout_id() -> Option<FileId> {
    let stdout = io::stdout().as_fd().try_clone_to_owned().ok()?;
    FileId::of(&File::from(stdout).metadata().ok()?)
}

/// The sockets that processes have left behind where this one is to make `sockets`: they stay unless the
/// machine starts.
pub(crate) fn set_left_over_aside(sockets: &[PathBuf]) -> Vec<LeftOver> {
    // One that cannot be moved is told of when the other is to be made.
    let aside = |path: &PathBuf| LeftOver::set_aside(path).ok().flatten();
    sockets.iter().filter_map(aside).collect()
}

/// The files for output of a machine that is being built.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    open: Mutex<Vec<(PathBuf, Output)>>,
    /// Nothing will ever be written.
    is_dry: bool,
}

impl Outputs {
    /// Outputs that lead nowhere.
    pub(crate) fn dry() -> Self {
        Self {
            is_dry: true,
            ..Self::default()
        }
    }

    /// Whether nothing is made.
    pub(crate) fn is_dry(&self) -> bool {
        self.is_dry
    }

    /// Opens the file at `path`, to which bytes are added. One that is not there yet gets its name when
    /// it is [kept](Self::keep).
    pub(crate) fn open(&self, path: &Path, sharing: Sharing, mode: u32) -> io::Result<File> {
        if self.is_dry {
            return File::options().write(true).open("/dev/null");
        }
        let output = OutputPlan::new(path, sharing)?.open(mode)?;
        let file = output.file().try_clone()?;
        let mut open = self.open.lock();
        open.push((path.to_owned(), output));
        Ok(file)
    }

    /// All else is well, and the machine starts: files that are new are there from now on.
    pub(crate) fn keep(&self) -> Result<(), Failure> {
        let mut open = self.open.lock();
        for (path, output) in open.iter_mut() {
            output
                .keep()
                .map_err(|error| Failure::host(&path.display().to_string(), &error, NEXT))?;
        }
        Ok(())
    }
}

/// What is opened, and is not changed before the machine starts.
#[derive(Debug)]
pub(crate) struct Opening {
    /// The log, which may wait.
    pub(crate) log: Option<LogFile>,
    /// Files for output.
    pub(crate) outputs: Arc<Outputs>,
    /// The file that is the guest's RAM.
    pub(crate) ram: Option<RamFile>,
    /// Where sockets for clients are to be made.
    pub(crate) sockets: Vec<PathBuf>,
}

impl Opening {
    /// All else has been found to work: the first that is changed of the user's files.
    pub(crate) fn commit(self) -> Result<(), Failure> {
        if let Some(log) = &self.log {
            log.open(&self.outputs)?;
        }
        self.outputs.keep()?;
        if let Some(ram) = self.ram {
            ram.keep();
        }
        Ok(())
    }
}

/// Undoes what a start that fails has done to the file that is the guest's RAM.
#[derive(Debug)]
pub(crate) struct RamFile {
    path: PathBuf,
    /// It was there, and empty.
    was_there: bool,
}

impl RamFile {
    /// Notes what there is at the path of RAM that is in a file, if something may have to be undone.
    pub(crate) fn note(backing: &Backing) -> Option<Self> {
        let Backing::File(path) = backing else {
            return None;
        };
        let size = std::fs::metadata(path).map(|there| there.len());
        let is_to_be_undone = size.as_ref().is_ok_and(|size| *size == 0) || size.is_err();
        is_to_be_undone.then(|| Self {
            path: path.clone(),
            was_there: size.is_ok(),
        })
    }

    /// The machine starts: it stays.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for RamFile {
    fn drop(&mut self) {
        // One that is locked is another guest's by now: theirs is the reason why this start has failed.
        let file = open_options().write(true).open(&self.path);
        let Some(file) = file.ok().filter(|file| lock_file(file, false).is_ok()) else {
            return;
        };
        // The start has failed already; that the file stays behind would be nothing to say beside it.
        let _ = match self.was_there {
            true => file.set_len(0),
            false => std::fs::remove_file(&self.path),
        };
    }
}
