//! The interface of a machine that can be controlled.

use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use vmmkit_host_io::ConsoleTap;
use vmmkit_telemetry::error_line;

use crate::{Balloon, Device, Event, Limits, MachineInfo, MachineState, Memory, MigrationProgress};

/// How a machine is to be saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saving {
    /// Only the memory that differs from the snapshot that it was restored from, or else from the last whole one.
    pub diff: bool,
    /// Most of the memory while the guest runs.
    pub live: bool,
    /// Stop it then.
    pub stop: bool,
    /// No later snapshot builds on this one, which does not change on which one they do.
    pub apart: bool,
}

/// A machine that has gone to another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// How long its guest stood still, as far as this side knows.
    pub pause: Duration,
    /// How often memory was sent while it ran.
    pub rounds: u64,
    /// Bytes of memory that were sent.
    pub sent_bytes: u64,
    /// The other process has said that the guest runs.
    pub is_acknowledged: bool,
}

/// A machine as the API sees it. Any thread calls it, several at once. `machine`, `devices`,
/// `size`, `balloon`, `memory` and `power_button` must not wait; the others may, for the guest to leave its vCPUs or
/// for devices to come to rest.
pub trait Controlled: Send + Sync + 'static {
    /// Describes it.
    fn machine(&self) -> MachineInfo;

    /// Lets the guest of a machine that was [created](MachineState::Created) run.
    ///
    /// # Errors
    /// [`Refusal::State`] where it has run already.
    fn boot(&self) -> Result<(), Refusal>;

    /// Takes the guest off its vCPUs. One that is paused stays so.
    ///
    /// # Errors
    /// [`Refusal::State`] where the guest has ended; [`Refusal::Busy`] where a device does not come to rest
    /// within two seconds or so: the guest runs on.
    fn pause(&self) -> Result<(), Refusal>;

    /// Lets the guest run on. One that runs does so already.
    ///
    /// # Errors
    /// [`Refusal::State`] where the guest has ended.
    fn resume(&self) -> Result<(), Refusal>;

    /// Resets the machine: its guest boots again.
    ///
    /// # Errors
    /// [`Refusal`] where it cannot be reset.
    fn reset(&self) -> Result<(), Refusal>;

    /// Saves the machine, or what differs from an earlier snapshot, to `folder`, an absolute path, and lets the guest run on
    /// as before, or stops it. Returns how long the guest stood still.
    ///
    /// # Errors
    /// [`Refusal::Unsupported`] with the reason where it cannot be saved, and as [`pause`](Self::pause).
    fn save(&self, folder: &Path, saving: Saving) -> Result<Duration, Refusal>;

    /// Moves the guest to the process that listens at the UNIX socket `to`, an absolute path; it stands still for about
    /// `downtime`. The machine ends then.
    ///
    /// # Errors
    /// [`Refusal::Unsupported`] with the reason where it does not go, [`Refusal::Busy`] where it is being saved or moved
    /// already, and as [`pause`](Self::pause): the guest goes on here.
    fn migrate(&self, to: &Path, downtime: Duration) -> Result<Migrated, Refusal> {
        let _ = (to, downtime);
        Err(Refusal::State {
            state: self.machine().state,
            wanted: "cannot be moved to another process",
        })
    }

    /// How far a migration that is under way has come, or the last one came. It must not wait.
    fn migration(&self) -> MigrationProgress {
        MigrationProgress::default()
    }

    /// Asks the guest to power off, by whatever it listens to.
    fn ask_to_stop(&self);

    /// Stops it at once. Its process ends with it.
    fn stop(&self);

    /// Seconds that a guest that was asked to stop may take if nobody says otherwise.
    fn stop_timeout(&self) -> u32;

    /// Presses the power button.
    fn power_button(&self);

    /// Types Ctrl-Alt-Del.
    fn ctrl_alt_del(&self);

    /// Its devices, in their order.
    fn devices(&self) -> Vec<Device>;

    /// Changes the limits of a device; returns those that it has then.
    ///
    /// # Errors
    /// [`Refusal::NoSuchDevice`], [`Refusal::NoLimits`], and [`Refusal::Field`] for a flow that it does not
    /// have.
    fn limit(&self, device: &str, limits: &Limits) -> Result<Limits, Refusal>;

    /// How large a disk is in bytes, as the guest knows it.
    ///
    /// # Errors
    /// [`Refusal::NoSize`] for a device that is not a disk, and [`Refusal::Unsupported`] for a disk whose
    /// size is not known here.
    fn size(&self, device: &str) -> Result<u64, Refusal> {
        Err(Refusal::NoSize(device.to_owned()))
    }

    /// Makes a disk so many bytes large, a multiple of 512, or looks at it again, and tells the guest;
    /// returns the bytes that it has then.
    ///
    /// # Errors
    /// See [`size`](Self::size); [`Refusal::Field`] for a size that it cannot have.
    fn resize(&self, device: &str, size_bytes: Option<u64>) -> Result<u64, Refusal> {
        let _ = size_bytes;
        Err(Refusal::NoSize(device.to_owned()))
    }

    /// Its balloon, if it has one.
    fn balloon(&self) -> Option<Balloon>;

    /// Asks the guest to make the balloon so many bytes large, a multiple of 1 MiB.
    ///
    /// # Errors
    /// [`Refusal::NoBalloon`], and [`Refusal::Field`] for more than there is.
    fn set_balloon(&self, target_bytes: u64) -> Result<(), Refusal>;

    /// Its memory, if some of that may be plugged.
    fn memory(&self) -> Option<Memory> {
        None
    }

    /// Asks the guest to have so many bytes in all, a multiple of 4 KiB.
    ///
    /// # Errors
    /// [`Refusal::NoMemory`], and [`Refusal::Field`] for a size that it cannot have.
    fn set_memory(&self, target_bytes: u64) -> Result<(), Refusal> {
        let _ = target_bytes;
        Err(Refusal::NoMemory)
    }

    /// The tap on its console, if there is one. It must not wait.
    fn console(&self) -> Option<Arc<ConsoleTap>> {
        None
    }

    /// Tells the guest the size of the terminal that shows its console, in characters; neither is 0. It must not wait.
    ///
    /// # Errors
    /// [`Refusal::NoConsole`], and [`Refusal::Unsupported`] for one that has no size, such as a serial port.
    fn resize_console(&self, columns: u16, rows: u16) -> Result<(), Refusal> {
        let _ = (columns, rows);
        Err(Refusal::NoConsole)
    }

    /// The state of all its parts, as an object of JSON, whose order is kept.
    ///
    /// # Errors
    /// [`Refusal`] where it cannot be had now.
    fn inspect(&self) -> Result<String, Refusal>;

    /// Its metrics, as Prometheus reads them (text format 0.0.4).
    fn metrics(&self) -> String;

    /// Its events from now on. Called once, when the first client asks for events.
    fn events(&self) -> Box<dyn EventSource>;
}

/// Events, one after the other.
pub trait EventSource: Send {
    /// Waits for the next one; `None` when there will be no more.
    fn next(&mut self) -> Option<Event>;
}

/// The error that a refusal comes from.
pub type Cause = Arc<dyn StdError + Send + Sync>;

/// Why a machine does not do what it was asked.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is in no state for that.
    #[error("the machine is {}, and {wanted}", state.name())]
    State {
        /// Its state.
        state: MachineState,
        /// The state that is required, as the rest of a sentence.
        wanted: &'static str,
    },
    /// There is no device of this name.
    #[error("this machine has no {0}")]
    NoSuchDevice(String),
    /// The device of this name has no limits.
    #[error("{0} has no configurable limits")]
    NoLimits(String),
    /// The device of this name has no size.
    #[error("{0} has no size, which only disks have")]
    NoSize(String),
    /// The machine has no balloon.
    #[error("this machine has no balloon")]
    NoBalloon,
    /// The machine's memory cannot grow.
    #[error("this machine has no memory to plug")]
    NoMemory,
    /// The machine has no console that can be reached.
    #[error("this machine has no console")]
    NoConsole,
    /// Its devices and vCPUs do not exist yet.
    #[error("the machine is still being built")]
    NotBuilt,
    /// A value that this machine cannot have.
    #[error("{field}: {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// Why it cannot be.
        reason: String,
    },
    /// This machine cannot do it at all.
    #[error("{0}")]
    Unsupported(Cause),
    /// It waits for something, and can be asked again.
    #[error("{0}")]
    Busy(Cause),
}

impl Refusal {
    /// This machine cannot do it at all.
    pub fn unsupported(cause: impl StdError + Send + Sync + 'static) -> Self {
        Self::Unsupported(Arc::new(cause))
    }

    /// It waits for something, and can be asked again.
    pub fn busy(cause: impl StdError + Send + Sync + 'static) -> Self {
        Self::Busy(Arc::new(cause))
    }

    /// Itself and its causes, the last one last.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Unsupported(cause) | Self::Busy(cause) => error_line(&**cause),
            _ => self.to_string(),
        }
    }
}
