//! Errors of a driver in a ring.

use thiserror::Error;

/// A ring that breaks the rules of section 2.7 or 2.8. The device then needs a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RingError {
    /// The size is not a power of 2, or above the most that there may be.
    #[error("a queue of {size} entries: it must be a power of 2 up to {most}")]
    Size {
        /// The size.
        size: u16,
        /// The most.
        most: u16,
    },
    /// A packed queue has no entries, or more than the most that there may be.
    #[error("a packed queue of {size} entries: it must have 1 to {most}")]
    PackedSize {
        /// The size.
        size: u16,
        /// The most.
        most: u16,
    },
    /// One of the three parts is not where it may be.
    #[error("the {part} at {address:#x}: it must be in RAM and a multiple of {alignment}")]
    Place {
        /// Which part.
        part: &'static str,
        /// Its address.
        address: u64,
        /// The required alignment.
        alignment: u64,
    },
    /// More chains are said to be there than the ring holds.
    #[error("{found} chains are said to be available in a ring of {size}")]
    Available {
        /// How many.
        found: u16,
        /// The ring's size.
        size: u16,
    },
    /// A descriptor's number is above the last one.
    #[error("descriptor {index} of {count}")]
    Index {
        /// The number.
        index: u32,
        /// How many descriptors there are.
        count: u32,
    },
    /// A chain is longer than its table: it runs in a circle.
    #[error("a chain of more than {most} descriptors")]
    TooLong {
        /// The most there may be.
        most: u32,
    },
    /// A buffer without a byte.
    #[error("a descriptor of length 0")]
    Empty,
    /// A buffer that is not wholly in RAM.
    #[error("a buffer of {length:#x} bytes at {address:#x}, which is not RAM")]
    Outside {
        /// Its address.
        address: u64,
        /// Its length.
        length: u32,
    },
    /// A buffer for the device to read after one for it to write (2.7.4.2).
    #[error("a readable descriptor after a writable one")]
    Order,
    /// An indirect descriptor where there may be none: in an indirect table, with NEXT, or without
    /// the feature (2.7.5.3.1).
    #[error("an indirect descriptor where none may be")]
    Indirect,
    /// An indirect table whose size is not a multiple of 16 (2.7.5.3.2).
    #[error("an indirect table of {length} bytes")]
    Table {
        /// Its length.
        length: u32,
    },
}
