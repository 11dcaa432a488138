//! The program that a machine runs in.

use std::path::Path;

use vmmkit_control::{Cause, MachineInfo, Saving};
use vmmkit_snapshot::{WriteError, Writer};
use vmmkit_telemetry::Metrics;
use vmmkit_vmm::{Handle, Outcome};

use crate::{Departure, Standstill};

/// Additions to a machine by the program that it runs in.
pub trait Embedder: Send + Sync + 'static {
    /// `metrics` of the machine that is `about`, with the program's own and under its name.
    fn publish(&self, metrics: Metrics, about: &MachineInfo) -> Metrics;

    /// Saves `machine` to `folder` as `saving` says; its guest is paused by `standstill`, and runs on at its end.
    ///
    /// # Errors
    /// Why it cannot be saved.
    fn save(
        &self,
        machine: &Handle,
        folder: &Path,
        saving: Saving,
        standstill: &mut Standstill<'_>,
    ) -> Result<(), Cause>;

    /// Describes the machine for the process that it is to go on in, to the manifest of a migration.
    ///
    /// # Errors
    /// [`WriteError`].
    fn describe(&self, manifest: &mut Writer) -> Result<(), WriteError>;

    /// Asks the guest to end in a way of the program's own; `false` where there is none: it is asked as any machine is.
    fn ask_to_power_off(&self) -> bool {
        false
    }

    /// A word for an end of the machine with `outcome` that the program knows more of, for its last event.
    fn ending(&self, outcome: Outcome) -> Option<&'static str> {
        let _ = outcome;
        None
    }

    /// A guest that was asked to power off has not, and is stopped now.
    fn cut_off(&self, machine: &Handle);

    /// The exit code of the process once its machine has ended with `outcome`, or has failed (`None`); `None` where
    /// that is not known.
    fn exit_code(&self, outcome: Option<Outcome>) -> Option<u8> {
        let _ = outcome;
        None
    }

    /// The exit code of the process once its guest has gone to another one; `None` where that is not known.
    fn exit_code_of(&self, departure: &Departure) -> Option<u8> {
        let _ = departure;
        None
    }
}
