//! Why a machine cannot be assembled.

use std::io;

use thiserror::Error;
use vmmkit_host_io::{HostCpus, ThreadPriority};
use vmmkit_machine_spec::{Conflict, Field, Invalid};

use crate::CpuFileError;

/// Why a machine cannot be assembled: which field of its specification, and the reason.
#[derive(Debug, Error)]
#[error("{field:?}: {reason}")]
pub struct AssemblyError {
    /// The field.
    pub field: Field,
    /// The reason.
    #[source]
    pub reason: Reason,
}

/// Why a field cannot be as it is.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Reason {
    /// It does not go together with others.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The CPU of a file.
    #[error(transparent)]
    CpuFile(#[from] CpuFileError),
    /// Which CPUs of the host this process may use is not known.
    #[error(transparent)]
    HostCpus(io::Error),
    /// A CPU of the host that this process may not use.
    #[error("CPU {cpu} is not one of those that this process may use ({allowed})")]
    CpuNotAllowed {
        /// The CPU.
        cpu: u32,
        /// Those that it may use.
        allowed: HostCpus,
    },
    /// A priority that this process may not have.
    #[error("{priority}: {source}")]
    Priority {
        /// The priority.
        priority: ThreadPriority,
        /// The host's reason.
        source: io::Error,
    },
}

impl From<Invalid> for AssemblyError {
    fn from(Invalid { field, conflict }: Invalid) -> Self {
        Self {
            field,
            reason: conflict.into(),
        }
    }
}
