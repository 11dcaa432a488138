//! The guest's first process.

mod command;
mod mounts;
mod ports;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use rustix::system::{RebootCommand, reboot, sethostname};
use thiserror::Error;

use crate::STATUS;
use crate::monitor::Status;
use crate::task::{FILE, Task};

/// How long the host may take to end a guest whose command has ended.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why the guest does not run its command.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InitError {
    /// The initial RAM disk has no task, or one that cannot be read.
    #[error("the task cannot be read")]
    Task(#[source] io::Error),
    /// The port for the status is not there: the host would hear nothing.
    #[error("there is no virtio port {name}")]
    NoPort {
        /// Its name.
        name: &'static str,
    },
    /// A file system cannot be mounted.
    #[error("cannot mount {what}{}", hint(what, source))]
    Mount {
        /// The kind of the file system.
        what: &'static str,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The kernel refuses something else.
    #[error("{what}: {source}")]
    Kernel {
        /// The attempt.
        what: &'static str,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
}

/// The option that a kernel lacks which does not know a file system.
fn hint(what: &str, source: &io::Error) -> String {
    const ENODEV: i32 = 19;
    let option = match what {
        "virtiofs" => "CONFIG_VIRTIO_FS",
        "overlay" => "CONFIG_OVERLAY_FS",
        "tmpfs" => "CONFIG_TMPFS",
        _ => "",
    };
    match source.raw_os_error() {
        Some(ENODEV) if !option.is_empty() => {
            format!(": the guest's kernel is built without it ({option}=y)")
        }
        _ => format!(": {source}"),
    }
}

/// Whether this process is the first one of a guest that runs a [`Task`].
pub fn is_init() -> bool {
    std::process::id() == 1 && Path::new("/").join(FILE).exists()
}

/// Runs the guest's task, and tells the host how it ended, which ends the guest. It comes back only where the host cannot
/// be told, or does not end the guest: [`give_up`] does then.
///
/// # Errors
/// [`InitError`], which the host was told too where it could be.
pub fn run() -> Result<(), InitError> {
    let task = std::fs::read(Path::new("/").join(FILE)).map_err(InitError::Task)?;
    let task: Task =
        serde_json::from_slice(&task).map_err(|error| InitError::Task(error.into()))?;
    mounts::of_the_kernel()?;
    let mut status = ports::open(STATUS)?;
    let ran = attempt(&task, &status);
    let said = match &ran {
        Ok(ended) => ended.clone(),
        Err(error) => Status::Failed(error.to_string()),
    };
    say(&mut status, &said)?;
    std::thread::sleep(PATIENCE);
    ran.map(drop)
}

/// Ends the guest by a reset: a kernel that knows no other way knows that one.
pub fn give_up() {
    // Refused only to a process that is not the first one of a guest.
    let _ = reboot(RebootCommand::Restart);
}

fn attempt(task: &Task, status: &File) -> Result<Status, InitError> {
    let streams = command::Streams::open(task)?;
    mounts::root(task)?;
    // A name alone: a guest without one works as well.
    let _ = sethostname(task.host_name.as_bytes());
    Ok(command::run(task, streams, status))
}

fn say(port: &mut File, status: &Status) -> Result<(), InitError> {
    port.write_all(status.line().as_bytes())
        .map_err(|source| InitError::Kernel {
            what: "the status",
            source,
        })
}
