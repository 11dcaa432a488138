//! Why memory cannot be plugged so.

use thiserror::Error;

/// Why memory cannot be plugged so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MemError {
    /// The memory of the device is not one range of whole blocks.
    #[error("the area is not one range of whole blocks of 2 MiB")]
    Area,
    /// More than the area.
    #[error("{bytes} bytes are more than the {most} that can be plugged")]
    TooMuch {
        /// Bytes asked for.
        bytes: u64,
        /// Bytes of the area.
        most: u64,
    },
    /// No whole number of blocks.
    #[error("{bytes} bytes are not a multiple of 2 MiB")]
    Fraction {
        /// Bytes asked for.
        bytes: u64,
    },
}
