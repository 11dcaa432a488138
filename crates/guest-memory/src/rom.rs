//! Memory that the guest reads and does not change: firmware below 4 GiB.

use std::fmt;
use std::io;
use std::sync::Arc;

use thiserror::Error;
use vm_memory::mmap::{MmapRegionBuilder, MmapRegionError};
use vm_memory::{Bytes, GuestAddress, MmapRegion, VolatileMemory};

use crate::{MMIO_HOLE_END, PAGE_SIZE, RamRegion};

/// The most that a ROM may hold, in bytes: what lies below 4 GiB above the local APICs' page and what
/// hypervisors keep for themselves.
pub const MAX_ROM: u64 = 16 << 20;

/// Firmware that ends at 4 GiB, where a processor begins after a reset. Clones share it.
#[derive(Clone)]
pub struct Rom {
    mapping: Arc<MmapRegion<()>>,
    region: RamRegion,
}

/// Why there is no ROM.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RomError {
    /// Not a size that it can have.
    #[error("{size} bytes is not a multiple of 4096 from 4096 to {MAX_ROM}")]
    Size {
        /// The size in bytes.
        size: u64,
    },
    /// The host refused the memory.
    #[error("cannot map {size} bytes")]
    Map {
        /// The size in bytes.
        size: u64,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
}

impl Rom {
    /// A ROM that holds `bytes`, in the memory slot `slot`: none that RAM has.
    ///
    /// # Errors
    /// [`RomError`] names the size.
    ///
    /// ```
    /// use vmmkit_guest_memory::{GuestAddress, Rom};
    ///
    /// let rom = Rom::new(&[0xf4; 4096], 2)?;
    /// let mut first = [0; 2];
    /// assert!(rom.read_bytes(GuestAddress(0xffff_fff0), &mut first));
    /// assert_eq!(first, [0xf4; 2]);
    /// # Ok::<(), vmmkit_guest_memory::RomError>(())
    /// ```
    pub fn new(bytes: &[u8], slot: u32) -> Result<Self, RomError> {
        let size = bytes.len() as u64;
        if size == 0 || size > MAX_ROM || !size.is_multiple_of(PAGE_SIZE) {
            return Err(RomError::Size { size });
        }
        let failed = |source| RomError::Map { size, source };
        let mapping = MmapRegionBuilder::<()>::new(bytes.len())
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS)
            .build()
            .map_err(|error| match error {
                MmapRegionError::Mmap(source) => failed(source),
                other => failed(io::Error::other(other)),
            })?;
        let written = mapping.as_volatile_slice().write_slice(bytes, 0);
        written.map_err(|error| failed(io::Error::other(error)))?;
        let region = RamRegion {
            slot,
            guest_address: GuestAddress(MMIO_HOLE_END.0 - size),
            size,
            host_address: mapping.as_ptr() as u64,
        };
        Ok(Self {
            mapping: Arc::new(mapping),
            region,
        })
    }

    /// Where it is: a memory slot of the hypervisor, to be read only.
    pub fn region(&self) -> &RamRegion {
        &self.region
    }

    /// Fills `bytes` from `address`; false where that is not all in it.
    pub fn read_bytes(&self, address: GuestAddress, bytes: &mut [u8]) -> bool {
        let offset = address.0.checked_sub(self.region.guest_address.0);
        let offset = offset.and_then(|offset| usize::try_from(offset).ok());
        let part = offset.and_then(|offset| self.mapping.get_slice(offset, bytes.len()).ok());
        part.is_some_and(|part| part.read_slice(bytes, 0).is_ok())
    }
}

impl fmt::Debug for Rom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rom").field(&self.region).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rom_ends_at_4_gib() {
        let mut bytes = vec![0; 64 << 10];
        bytes[0] = 1;
        bytes[(64 << 10) - 1] = 2;
        let rom = Rom::new(&bytes, 7).unwrap();
        assert_eq!(rom.region().guest_address, GuestAddress(0xffff_0000));
        assert_eq!((rom.region().size, rom.region().slot), (64 << 10, 7));
        let byte = |address| {
            let mut byte = [0xee];
            rom.read_bytes(GuestAddress(address), &mut byte)
                .then_some(byte[0])
        };
        assert_eq!(byte(0xffff_0000), Some(1));
        assert_eq!(byte(0xffff_ffff), Some(2));
        assert_eq!(byte(0xfffe_ffff), None);
        assert_eq!(byte(0x1_0000_0000), None);
        assert_eq!(byte(u64::MAX), None);
    }

    #[test]
    fn a_size_that_cannot_be_is_named() {
        for size in [0, 1, 4095, 4097, (16 << 20) + 4096] {
            let error = Rom::new(&vec![0; size], 2).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{size} bytes is not a multiple of 4096 from 4096 to 16777216")
            );
        }
    }
}
