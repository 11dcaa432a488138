//! The configuration space (5.2.4).

use super::request::{MAX_DISCARD_SECTORS, MAX_ZERO_SECTORS};
use super::spec::{SECTOR, config};
use super::{QUEUE_SIZE, Topology};

/// The contents of the configuration space.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    /// Bytes of the disk.
    pub(super) capacity: u64,
    pub(super) topology: Topology,
    pub(super) writeback: bool,
    pub(super) queues: u16,
}

impl Space {
    pub(super) fn bytes(&self) -> [u8; config::LENGTH] {
        let mut bytes = [0; config::LENGTH];
        let mut put = |at: usize, value: &[u8]| {
            if let Some(place) = bytes.get_mut(at..at + value.len()) {
                place.copy_from_slice(value);
            }
        };
        let Topology {
            logical_block,
            physical_block,
        } = self.topology;
        let ratio = (physical_block / logical_block).max(1);
        let ratio_16 = u16::try_from(ratio).unwrap_or(u16::MAX);
        let alignment = physical_block / SECTOR as u32;
        put(config::CAPACITY, &(self.capacity / SECTOR).to_le_bytes());
        put(config::SEG_MAX, &u32::from(QUEUE_SIZE - 2).to_le_bytes());
        put(config::BLK_SIZE, &logical_block.to_le_bytes());
        put(config::PHYSICAL_BLOCK_EXP, &[ratio.ilog2() as u8]);
        put(config::MIN_IO_SIZE, &ratio_16.to_le_bytes());
        put(config::OPT_IO_SIZE, &0_u32.to_le_bytes());
        put(config::WRITEBACK, &[u8::from(self.writeback)]);
        put(config::NUM_QUEUES, &self.queues.to_le_bytes());
        put(
            config::MAX_DISCARD_SECTORS,
            &MAX_DISCARD_SECTORS.to_le_bytes(),
        );
        put(config::MAX_DISCARD_SEG, &1_u32.to_le_bytes());
        put(config::DISCARD_SECTOR_ALIGNMENT, &alignment.to_le_bytes());
        put(
            config::MAX_WRITE_ZEROES_SECTORS,
            &MAX_ZERO_SECTORS.to_le_bytes(),
        );
        put(config::MAX_WRITE_ZEROES_SEG, &1_u32.to_le_bytes());
        put(config::WRITE_ZEROES_MAY_UNMAP, &[1]);
        bytes
    }

    /// Copies what is at `offset`; what is beyond the end stays as it is.
    pub(super) fn read(&self, offset: usize, bytes: &mut [u8]) {
        let space = self.bytes();
        let rest = space.get(offset..).unwrap_or_default();
        for (byte, value) in bytes.iter_mut().zip(rest) {
            *byte = *value;
        }
    }
}
