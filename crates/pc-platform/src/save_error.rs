//! Why a machine cannot be saved.

use thiserror::Error;
use vmmkit_hypervisor::Error as HypervisorError;

use crate::{SaveRamError, SectionError};

/// Why a machine cannot be saved.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SaveError {
    /// It is not paused, or its devices are not at rest.
    #[error("the machine is not paused")]
    NotPaused,
    /// It has no vCPUs with threads: it has ended or was not started.
    #[error("the machine has no vCPUs to be saved: it has ended, or was not started")]
    Ended,
    /// A device is on a bus, and no part of the machine.
    #[error("{device}: has no saved form")]
    NotAPart {
        /// Its name on the bus.
        device: String,
    },
    /// A device has more than is saved.
    #[error("{device}: {reason}")]
    Device {
        /// Its name in the machine.
        device: String,
        /// The state that would be missed.
        reason: &'static str,
    },
    /// The hypervisor does not give its state.
    #[error("{section}")]
    Hypervisor {
        /// The section that it would be.
        section: String,
        /// The hypervisor's reason.
        #[source]
        source: HypervisorError,
    },
    /// A state cannot be written.
    #[error(transparent)]
    Section(#[from] SectionError),
    /// RAM cannot be written.
    #[error(transparent)]
    Ram(#[from] SaveRamError),
}
