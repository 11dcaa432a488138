//! Why a device could not be plugged.

use std::sync::Arc;

use thiserror::Error;

use crate::AddressRange;

/// Why a device could not be plugged. The bus is as it was.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PlugError {
    /// A range without an address.
    #[error("{name} cannot be plugged at {base:#x}: its range is empty")]
    Empty {
        /// The device.
        name: Arc<str>,
        /// Where its range would begin.
        base: u64,
    },
    /// A range that ends past the last address of the space.
    #[error(
        "{name} cannot be plugged at {:#x}: its {:#x} {addresses} end past {last:#x}, the last",
        range.base, range.length
    )]
    PastEnd {
        /// The device.
        name: Arc<str>,
        /// Its range.
        range: AddressRange,
        /// The name of the addresses.
        addresses: &'static str,
        /// The last address of the space.
        last: u64,
    },
    /// Another device owns some of the range.
    #[error("{name} cannot be plugged at {range}: {owner} owns {owner_range}")]
    Conflict {
        /// The device.
        name: Arc<str>,
        /// Its range.
        range: AddressRange,
        /// The device that is there.
        owner: Arc<str>,
        /// The range of that device.
        owner_range: AddressRange,
    },
}
