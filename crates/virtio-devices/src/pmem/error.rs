//! Why a file cannot be persistent memory.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use vmmkit_guest_memory::MapFileError;

/// Why a file cannot be persistent memory.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PmemError {
    /// It cannot be opened or locked.
    #[error("cannot open {} as persistent memory", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// Another VM has it.
    #[error(
        "{} is in use: stop the other VM, or let both discard their writes",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be mapped.
    #[error("cannot map {} as persistent memory", path.display())]
    Map {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: MapFileError,
    },
}
