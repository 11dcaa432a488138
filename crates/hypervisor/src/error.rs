//! The one error every back end answers with.

use std::io;

use thiserror::Error;
use vmmkit_device_bus::StateError;

/// The result of a hypervisor operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a back end could not do what it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The host refused an operation.
    #[error("{operation} failed")]
    Host {
        /// The operation as the host's documentation names it, e.g. `KVM_CREATE_VM`.
        operation: &'static str,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// The host said for a long time that it cannot just now (EAGAIN): a limit of threads or memory
    /// is reached.
    #[error("{operation}: for {seconds} s the host has had no thread or no memory for it (EAGAIN)")]
    Starved {
        /// The operation as the host's documentation names it.
        operation: &'static str,
        /// How long it was asked again, in seconds.
        seconds: u64,
    },
    /// The back end does not have this capability.
    #[error("this hypervisor has no {0}")]
    Unsupported(&'static str),
    /// A list of MSRs was accepted only in part.
    #[error("{operation} stopped at MSR {index:#x}: {done} of {asked} were accepted")]
    Msr {
        /// `KVM_GET_MSRS` or `KVM_SET_MSRS`.
        operation: &'static str,
        /// The first MSR that was not accepted.
        index: u32,
        /// How many were.
        done: usize,
        /// How many were asked for.
        asked: usize,
    },
    /// A saved state that cannot be restored.
    #[error("a saved state cannot be restored")]
    State(#[from] StateError),
    /// A value from the caller cannot be passed on.
    #[error("{what}: {reason}")]
    Invalid {
        /// The parameter and its value.
        what: String,
        /// Why it cannot be used.
        reason: &'static str,
    },
}

impl Error {
    /// The host's refusal of `operation`.
    pub fn host(operation: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Host {
            operation,
            source: source.into(),
        }
    }
}
