//! `--sandbox`: the process confines itself before the guest's first instruction.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, setrlimit};
use vmmkit_assembly::{Confinement, ConfinementError, NamedFile, Role, ThreadKind};
use vmmkit_host_io::{RefusedCallWords, end_on_refused_call, folder_of, on_thread_start};
use vmmkit_machine_spec::{DeviceSpec, DiskSpec, FsSpec, NetAttachmentSpec};
use vmmkit_sandbox::{CapabilitySet, FileRules, Refusal, call_name};

use crate::failure::Failure;
use crate::sandbox_choice::SandboxChoice;
use crate::settings::Settings;
use crate::{control, exit_code, files};

/// The words for a system call that was refused. The terminal is cooked by then.
const REFUSED: RefusedCallWords = RefusedCallWords {
    before: "vmmkit: error: system call ",
    between: " of thread ",
    after: ": the sandbox refuses it\n  next: the guest may have broken into this process; if you trust it, \
            report this as a bug in vmmkit, and run it with --sandbox log\n",
    name: call_name,
};

/// The confinement of this process, if it is to have one.
pub(crate) struct Sandbox {
    confinement: Option<Arc<Confinement>>,
}

impl Sandbox {
    /// The confinement that `settings` ask for: threads that begin from now on have it.
    pub(crate) fn prepare(settings: &Settings) -> Self {
        let refusal = match settings.sandbox {
            SandboxChoice::Off => return Self { confinement: None },
            SandboxChoice::Log => Refusal::Log,
            SandboxChoice::On => Refusal::Trap,
        };
        let mut confinement = Confinement::new(refusal, file_rules(settings)).keep(kept(settings));
        if settings.spec.memory.dump {
            confinement = confinement.keep_core_files();
        }
        let confinement = Arc::new(confinement);
        tell_of_refused_calls();
        let threads = confinement.clone();
        on_thread_start(move |role, name| {
            let kind = ThreadKind::of(role, name);
            let (confinement, child) = (threads.clone(), threads.child(kind));
            move || {
                if let Err(error) = confinement.begin_child(child) {
                    // It would run unconfined, and whoever started it would wait for it.
                    failed(&error).report();
                    std::process::exit(exit_code::HOST_ERROR.into());
                }
                call_if_asked(kind);
            }
        });
        Self {
            confinement: Some(confinement),
        }
    }

    /// Confines the calling thread, but for its system calls, and all threads that it starts from now on. The process's
    /// other handlers of signals are there.
    pub(crate) fn begin(&self) -> Result<(), Failure> {
        let Some(confinement) = &self.confinement else {
            return Ok(());
        };
        // Again: a terminal's handlers, which may have come since, take the signal too.
        tell_of_refused_calls();
        // What this host's kernel lacks is left out: `vmmkit doctor` says it.
        confinement
            .begin()
            .map(drop)
            .map_err(|error| failed(&error))
    }

    /// Confines the calling thread's system calls: it has started the machine, and waits for its end.
    pub(crate) fn enter_main(&self) -> Result<(), Failure> {
        let Some(confinement) = &self.confinement else {
            return Ok(());
        };
        confinement
            .enter(ThreadKind::Main)
            .map_err(|error| failed(&error))?;
        call_if_asked(ThreadKind::Main);
        Ok(())
    }
}

fn tell_of_refused_calls() {
    end_on_refused_call(REFUSED, exit_code::REFUSED_CALL);
}

fn failed(error: &ConfinementError) -> Failure {
    let next = "give --sandbox off, and report which kernel this host has (uname -r)";
    Failure::host("--sandbox", error, next)
}

/// The capabilities that the process cannot do without, where it has them.
fn kept(settings: &Settings) -> CapabilitySet {
    let mut kept = CapabilitySet::empty();
    if settings.spec.cpus.priority != Default::default() && !may_have_priorities() {
        kept |= CapabilitySet::SYS_NICE;
    }
    let is_root = rustix::process::geteuid().is_root();
    if is_root && reaches_what_others_own(settings) {
        kept |= CapabilitySet::DAC_OVERRIDE;
    }
    if is_root && folders(settings).any(|(_, is_writable)| is_writable) {
        kept |= CapabilitySet::CHOWN | CapabilitySet::FOWNER;
    }
    kept
}

/// The folders that this process shares.
fn folders(settings: &Settings) -> impl Iterator<Item = (&Path, bool)> {
    let devices = settings.spec.devices.iter();
    let shared = devices.filter_map(|device| match device {
        DeviceSpec::Fs(FsSpec::Own(folder)) => Some((folder.directory.as_path(), folder.writable)),
        _ => None,
    });
    let root = settings.root.iter().map(|root| &root.spec);
    shared.chain(root.map(|root| (root.directory.as_path(), root.writable)))
}

/// Whether root comes, while the guest runs, to files or sockets that may be another user's: sockets that programs of the
/// host listen at, or folders in which files are replaced and removed.
fn reaches_what_others_own(settings: &Settings) -> bool {
    let connects = |device: &DeviceSpec| match device {
        DeviceSpec::Vsock(_) | DeviceSpec::Fs(_) | DeviceSpec::Disk(DiskSpec::VhostUser(_)) => true,
        DeviceSpec::Net(net) => matches!(net.attachment, NetAttachmentSpec::VhostUser(_)),
        _ => false,
    };
    let changes = |named: &NamedFile<String>| {
        matches!(named.role, Role::Socket | Role::Report) && !is_roots(folder_of(&named.path))
    };
    let runtime = control::runtime_folder();
    let is_listed = !settings.control.unlisted;
    let has_foreign_place = is_listed && runtime.is_ok_and(|folder| !is_roots(folder.path()));
    let devices = &settings.spec.devices;
    let has_root = settings.root.is_some();
    has_root
        || has_foreign_place
        || devices.iter().any(connects)
        || files::named(settings).iter().any(changes)
}

/// Whether root without capabilities may change the entries of `folder`: it and all folders on the way are root's, or open
/// to all.
fn is_roots(folder: &Path) -> bool {
    let Ok(folder) = std::fs::canonicalize(folder) else {
        return false;
    };
    // `mode` is in the owner's bits (inode(7)); those of others are the lowest.
    let may = |folder: &Path, mode: u32| {
        std::fs::metadata(folder).is_ok_and(|there| match there.uid() {
            0 => there.mode() & mode == mode,
            _ => there.mode() & (mode >> 6) == mode >> 6,
        })
    };
    let mut way = folder.ancestors();
    way.next().is_some_and(|folder| may(folder, 0o300)) && way.all(|folder| may(folder, 0o100))
}

/// Has the threads take on any priority without CAP_SYS_NICE too (sched(7)), where this process may set its limits.
fn may_have_priorities() -> bool {
    let limits = [(Resource::Nice, 40), (Resource::Rtprio, 99)];
    limits.into_iter().all(|(resource, most)| {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit).is_ok()
    })
}

/// The files that are opened, made or removed while the guest runs and at its end.
fn file_rules(settings: &Settings) -> FileRules {
    let mut rules = FileRules::new();
    // The numbers of this process's threads, for metrics.
    rules.read("/proc");
    // A guest's clock after a pause depends on it.
    rules.read("/sys/devices/system/clocksource");
    let has_api = !settings.control.unlisted || settings.control.socket.is_some();
    if has_api {
        // A client names the folder of a snapshot.
        rules.replace_in("/");
    }
    for (folder, is_writable) in folders(settings) {
        match is_writable {
            true => rules.change_in(folder),
            false => rules.read(folder),
        }
    }
    for named in files::named(settings) {
        match named.role {
            Role::Socket => rules.remove_in(folder_of(&named.path)),
            Role::Report if named.path.is_file() || !named.path.exists() => {
                let path = std::fs::canonicalize(&named.path).unwrap_or(named.path);
                rules.replace_in(folder_of(&path));
            }
            Role::Report => rules.write(&named.path),
            _ => {}
        }
    }
    if let Ok(folder) = control::runtime_folder() {
        rules.remove_in(folder.path());
    }
    rules
}

/// A hook of the tests: a thread of that role makes a system call that none needs.
fn call_if_asked(kind: ThreadKind) {
    #[cfg(any(test, debug_assertions, feature = "test-hooks"))]
    if std::env::var("VMMKIT_TEST_REFUSED_CALL").is_ok_and(|it| it == kind.name()) {
        let _ = rustix::process::getppid();
    }
    #[cfg(not(any(test, debug_assertions, feature = "test-hooks")))]
    let _ = kind;
}
