//! Reasons against an initial RAM disk.

use thiserror::Error;

/// Why there can be no initial RAM disk.
#[derive(Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InitramfsError {
    /// The library was built for another architecture than the guest's program is written for.
    #[error("there is no program for guests of this architecture")]
    NoProgram,
    /// A text of the task has a byte 0, with which texts end.
    #[error("the {what} has a byte 0")]
    Nul {
        /// The text.
        what: &'static str,
    },
    /// The task is longer than 8 MiB.
    #[error("the task has {bytes} bytes: 8388607 at most")]
    Long {
        /// Its bytes.
        bytes: usize,
    },
}
