//! The files that one command line names, and what is done with each: nothing is written over what
//! something else is, and files for output are made when all else is known to work.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use vmmkit_guest_memory::Backing;
use vmmkit_host_io::{
    FileId, Holder, LeftOver, Output, OutputPlan, Sharing, lock_file, lock_holder, open_options,
};

use vmmkit_machine_spec::{ConsoleSpec, DeviceSpec, DiskSpec, Field, MachineSpec};
use vmmkit_virtio_devices::Qcow2Disk;

use crate::failure::Failure;
use crate::log::LogFile;
use crate::settings::Settings;
use crate::snapshot::Snapshot;
use crate::{build_failure, gdb};

/// Advice where output cannot be written.
pub(crate) const NEXT: &str = "check the path, its permissions and the space there";

/// The same, for the end of a console at `place`.
pub(crate) fn next_of(place: &ConsoleSpec) -> &'static str {
    match place {
        ConsoleSpec::Socket(_) => "give the path of a new file in a folder of yours",
        _ => NEXT,
    }
}

/// The role of a file.
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
    /// Its role.
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
        let what = format!("--memory {}", settings.spec.value(Field::Memory));
        Failure::host(&what, &error, build_failure::of_memory(&error))
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
    let spec = &settings.spec;
    let mut all = Vec::new();
    let mut add = |option: &str, value: &str, path: Option<&Path>, role| {
        if let Some(path) = path {
            let option = format!("--{option} {value}");
            all.push(Named::new(option.trim_end().to_owned(), path, role));
        }
    };
    let shown = |path: &Path| path.display().to_string();
    if let Some(config) = &settings.config {
        add("config", &shown(config), Some(config), Role::Input);
    }
    let kernel = spec.boot.as_kernel();
    let image = spec.boot.image();
    let option = kernel.map_or("firmware", |_| "kernel");
    add(option, &shown(image), Some(image), Role::Input);
    if let Some(initrd) = kernel.and_then(|kernel| kernel.initrd.as_ref()) {
        add(
            "initrd",
            &shown(&initrd.path),
            Some(&initrd.path),
            Role::Input,
        );
    }
    if let Backing::File(path) = &settings.machine.ram.backing {
        add("memory", &spec.value(Field::Memory), Some(path), Role::Ram);
    }
    let (one, all_of) = (Role::Output(Sharing::Alone), Role::Output(Sharing::Lines));
    let serial = spec.serial_console();
    if let ConsoleSpec::File(path) = &serial {
        add("serial", &serial.to_string(), Some(path), one);
    }
    add("serial", &serial.to_string(), serial.socket(), Role::Socket);
    let gdb = settings.gdb.as_ref().and_then(gdb::socket);
    add("gdb", "", gdb, Role::Socket);
    let api = settings.control.socket.as_deref();
    add("api-socket", "", api, Role::Socket);
    let port = &spec.platform.debug_port;
    add("debug-port", &port.to_string(), port.file(), one);
    if let Some(metrics) = &settings.metrics {
        let path = Some(metrics.path());
        add("metrics", &metrics.to_string(), path, Role::Report);
    }
    if let Some(timeline) = &settings.timeline {
        let path = Some(timeline.path());
        add("timeline", &timeline.to_string(), path, Role::Report);
    }
    if let Some(log) = &settings.log {
        add("log", &log.to_string(), log.file(), all_of);
    }
    all.extend(of_devices(settings));
    all.extend(backing_files(settings));
    if uses_stdout(spec) {
        let option = "stdout".to_owned();
        all.push(Named::new(option, Path::new(""), Role::Stream));
    }
    all
}

/// Those that devices name.
fn of_devices(settings: &Settings) -> Vec<Named> {
    let given = |is_read_only| match is_read_only {
        true => Role::Input,
        false => Role::Disk,
    };
    let named = settings.devices().filter_map(|(device, text)| {
        let (name, path, role) = match device {
            DeviceSpec::Disk(DiskSpec::Own(disk)) => ("disk", &disk.path, given(disk.read_only)),
            DeviceSpec::Pmem(pmem) => ("pmem", &pmem.path, given(pmem.discard)),
            DeviceSpec::Vsock(vsock) => ("vsock", &vsock.socket, Role::Socket),
            DeviceSpec::Console(ConsoleSpec::File(path)) => {
                ("console", path, Role::Output(Sharing::Alone))
            }
            DeviceSpec::Console(ConsoleSpec::Socket(path)) => ("console", path, Role::Socket),
            _ => return None,
        };
        Some(Named::new(format!("--{name} {text}"), path, role))
    });
    named.collect()
}

/// The images behind those of disks.
fn backing_files(settings: &Settings) -> Vec<Named> {
    let mut all = Vec::new();
    for (device, text) in settings.devices() {
        let DeviceSpec::Disk(DiskSpec::Own(disk)) = device else {
            continue;
        };
        if disk.backing {
            // What cannot be read is said when the disk is opened.
            let behind = Qcow2Disk::backing_files(&disk.path).unwrap_or_default();
            all.extend(behind.iter().map(|path| {
                let option = format!("backing file {} of --disk {text}", path.display());
                Named::new(option, path, Role::Input)
            }));
        }
    }
    all
}

fn uses_stdout(spec: &MachineSpec) -> bool {
    spec.serial_console() == ConsoleSpec::Stdio || spec.has_virtio_stdio()
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

/// A file that is opened, and is not changed before the machine starts.
#[derive(Debug)]
pub(crate) struct Opening {
    /// The snapshot that the guest goes on from.
    pub(crate) snapshot: Option<Snapshot>,
    /// The log, which may wait.
    pub(crate) log: Option<LogFile>,
    /// Files for output.
    pub(crate) outputs: Arc<Outputs>,
}

impl Opening {
    /// All else has been found to work: the first that is changed of the user's files.
    pub(crate) fn commit(self) -> Result<(), Failure> {
        if let Some(log) = &self.log {
            log.open(&self.outputs)?;
        }
        self.outputs.keep()
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
        let Ok(file) = open_options().write(true).open(&self.path) else {
            return;
        };
        // One that is locked may be another guest's by now: theirs is the reason why this start has failed.
        // This process itself has it while RAM is being made.
        let own = |holder: Holder| holder.pid == std::process::id();
        if lock_file(&file, false).is_err() && !lock_holder(&file).is_some_and(own) {
            return;
        }
        // The start has failed already; that the file stays behind would be nothing to say beside it.
        let _ = match self.was_there {
            true => file.set_len(0),
            false => std::fs::remove_file(&self.path),
        };
    }
}
