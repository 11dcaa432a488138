//! Why a machine has no entry, or is not found.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a machine has no entry, or is not found.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InstanceError {
    /// The text is not a name.
    #[error("{0:?} cannot be a machine's name")]
    BadName(String),
    /// A living machine has the name.
    #[error("a machine with this name is there{}", of(*pid))]
    InUse {
        /// The name.
        name: String,
        /// Its process.
        pid: Option<u32>,
    },
    /// There is no machine of the name.
    #[error("{}", match was_there {
        true => "its process has ended without a word",
        false => "there is no machine of this name",
    })]
    NoSuch {
        /// The name.
        name: String,
        /// A dead process had left its entry, which is removed now.
        was_there: bool,
    },
    /// The folder belongs to somebody else, or others may write in it.
    #[error("{}: {reason}", path.display())]
    Unsafe {
        /// The folder.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The host refused.
    #[error("cannot {what} {}", path.display())]
    Host {
        /// The request that it refused.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Its reason.
        #[source]
        source: io::Error,
    },
}

impl InstanceError {
    pub(super) fn host(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Host { what, path, source }
    }
}

fn of(pid: Option<u32>) -> String {
    pid.map_or(String::new(), |pid| format!(" (process {pid})"))
}
