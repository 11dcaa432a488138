//! Guest-physical memory as the emulator sees it.

use thiserror::Error;
use vmmkit_guest_memory::{GuestAddress, GuestRam};

/// The bytes are not all RAM: a device may be there, or nothing. The address is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not all guest RAM")]
pub struct NotRam;

/// Guest-physical memory. RAM comes in whole 4 KiB pages.
pub trait PhysicalMemory {
    /// Fills `bytes` from `physical`.
    ///
    /// # Errors
    /// [`NotRam`] where a byte is not RAM; likewise for all below, which then write nothing.
    fn read(&self, physical: u64, bytes: &mut [u8]) -> Result<(), NotRam>;
    /// Copies `bytes` to `physical`.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    fn write(&self, physical: u64, bytes: &[u8]) -> Result<(), NotRam>;
    /// Replaces the 8 bytes at `physical`, a multiple of 8, by `new` if they are `expected`,
    /// atomically against other vCPUs. Returns the value seen before.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    fn compare_exchange_u64(&self, physical: u64, expected: u64, new: u64) -> Result<u64, NotRam>;
    /// Replaces the 16 bytes at `physical`, a multiple of 16, by `new` if they are `expected`,
    /// atomically against other vCPUs. Returns the value seen before.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    fn compare_exchange_u128(
        &self,
        physical: u64,
        expected: u128,
        new: u128,
    ) -> Result<u128, NotRam>;
}

impl PhysicalMemory for GuestRam {
    fn read(&self, physical: u64, bytes: &mut [u8]) -> Result<(), NotRam> {
        self.read_bytes(GuestAddress(physical), bytes)
            .map_err(|_| NotRam)
    }

    fn write(&self, physical: u64, bytes: &[u8]) -> Result<(), NotRam> {
        self.write_bytes(GuestAddress(physical), bytes)
            .map_err(|_| NotRam)
    }

    fn compare_exchange_u64(&self, physical: u64, expected: u64, new: u64) -> Result<u64, NotRam> {
        let address = GuestAddress(physical);
        match GuestRam::compare_exchange_u64(self, address, expected, new) {
            Ok(Ok(seen) | Err(seen)) => Ok(seen),
            Err(_) => Err(NotRam),
        }
    }

    fn compare_exchange_u128(
        &self,
        physical: u64,
        expected: u128,
        new: u128,
    ) -> Result<u128, NotRam> {
        let address = GuestAddress(physical);
        match GuestRam::compare_exchange_u128(self, address, expected, new) {
            Ok(Ok(seen) | Err(seen)) => Ok(seen),
            Err(_) => Err(NotRam),
        }
    }
}
