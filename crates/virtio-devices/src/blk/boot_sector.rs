//! The first sector of a disk: whether a PC's BIOS would start from it.

use std::io;

use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig, RamSize, Segment};

use super::Block;
use super::spec::SECTOR;

/// The last two bytes of a boot sector.
const SIGNATURE: [u8; 2] = [0x55, 0xaa];

impl Block {
    /// Whether a PC's BIOS would start from this disk: its first sector has the signature of a boot sector, and
    /// code. A disk with a partition table alone has none, and one for UEFI alone has a partition table alone.
    ///
    /// # Errors
    /// The host's, of the read or of a page of memory for it.
    pub fn is_bootable(&self) -> io::Result<bool> {
        if self.capacity() < SECTOR {
            return Ok(false);
        }
        let ram = GuestRam::new(&RamConfig {
            size: RamSize::mebibytes(1),
            ..RamConfig::default()
        })
        .map_err(io::Error::other)?;
        let address = GuestAddress(0);
        let mut sector = [0; SECTOR as usize];
        let segment = Segment {
            address,
            length: SECTOR as u32,
        };
        self.shared.disk.read(&ram, &[segment], 0)?;
        ram.read_bytes(address, &mut sector)
            .map_err(io::Error::other)?;
        Ok(sector.first() != Some(&0) && sector.ends_with(&SIGNATURE))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::blk::{BlockConfig, MemoryDisk};

    fn is_bootable(sector: &[u8], size: usize) -> bool {
        let mut bytes = sector.to_vec();
        bytes.resize(size, 0);
        let disk = Arc::new(MemoryDisk::from(bytes));
        let block = Block::with_disk(disk, &BlockConfig::default()).unwrap();
        block.is_bootable().unwrap()
    }

    #[test]
    fn a_boot_sector_has_code_and_a_signature() {
        let mut sector = [0; 512];
        assert!(!is_bootable(&sector, 4096), "empty");
        sector[510..].copy_from_slice(&SIGNATURE);
        assert!(!is_bootable(&sector, 4096), "a partition table alone");
        sector[0] = 0xeb;
        assert!(is_bootable(&sector, 4096));
        assert!(is_bootable(&sector, 512));
        sector[511] = 0;
        assert!(!is_bootable(&sector, 4096), "data");
    }
}
