//! Constants of the block device (section 5.2).

use virtio_bindings::virtio_blk as bindings;

/// Feature bits (5.2.3).
pub(super) mod feature {
    use super::bindings;

    /// `seg_max` is valid.
    pub(crate) const SEG_MAX: u64 = 1 << bindings::VIRTIO_BLK_F_SEG_MAX;
    /// The disk is read-only.
    pub(crate) const RO: u64 = 1 << bindings::VIRTIO_BLK_F_RO;
    /// `blk_size` is valid.
    pub(crate) const BLK_SIZE: u64 = 1 << bindings::VIRTIO_BLK_F_BLK_SIZE;
    /// FLUSH requests.
    pub(crate) const FLUSH: u64 = 1 << bindings::VIRTIO_BLK_F_FLUSH;
    /// `topology` is valid.
    pub(crate) const TOPOLOGY: u64 = 1 << bindings::VIRTIO_BLK_F_TOPOLOGY;
    /// `writeback` can be written.
    pub(crate) const CONFIG_WCE: u64 = 1 << bindings::VIRTIO_BLK_F_CONFIG_WCE;
    /// More than one queue.
    pub(crate) const MQ: u64 = 1 << bindings::VIRTIO_BLK_F_MQ;
    /// DISCARD requests.
    pub(crate) const DISCARD: u64 = 1 << bindings::VIRTIO_BLK_F_DISCARD;
    /// WRITE_ZEROES requests.
    pub(crate) const WRITE_ZEROES: u64 = 1 << bindings::VIRTIO_BLK_F_WRITE_ZEROES;
}

/// Offsets in the configuration space (5.2.4).
pub(super) mod config {
    /// le64, in sectors.
    pub(crate) const CAPACITY: usize = 0;
    /// le32.
    pub(crate) const SEG_MAX: usize = 12;
    /// le32, in bytes.
    pub(crate) const BLK_SIZE: usize = 20;
    /// u8: a physical block is 2 to its power logical blocks.
    pub(crate) const PHYSICAL_BLOCK_EXP: usize = 24;
    /// le16, in logical blocks.
    pub(crate) const MIN_IO_SIZE: usize = 26;
    /// le32, in logical blocks.
    pub(crate) const OPT_IO_SIZE: usize = 28;
    /// u8.
    pub(crate) const WRITEBACK: usize = 32;
    /// le16.
    pub(crate) const NUM_QUEUES: usize = 34;
    /// le32.
    pub(crate) const MAX_DISCARD_SECTORS: usize = 36;
    /// le32.
    pub(crate) const MAX_DISCARD_SEG: usize = 40;
    /// le32, in sectors.
    pub(crate) const DISCARD_SECTOR_ALIGNMENT: usize = 44;
    /// le32.
    pub(crate) const MAX_WRITE_ZEROES_SECTORS: usize = 48;
    /// le32.
    pub(crate) const MAX_WRITE_ZEROES_SEG: usize = 52;
    /// u8.
    pub(crate) const WRITE_ZEROES_MAY_UNMAP: usize = 56;
    /// Bytes up to here.
    pub(crate) const LENGTH: usize = 60;
}

/// Types of requests (5.2.6).
pub(super) mod request {
    use super::bindings;

    /// Reads from the disk.
    pub(crate) const IN: u32 = bindings::VIRTIO_BLK_T_IN;
    /// Writes to the disk.
    pub(crate) const OUT: u32 = bindings::VIRTIO_BLK_T_OUT;
    /// Makes writes durable.
    pub(crate) const FLUSH: u32 = bindings::VIRTIO_BLK_T_FLUSH;
    /// Asks for the serial number.
    pub(crate) const GET_ID: u32 = bindings::VIRTIO_BLK_T_GET_ID;
    /// Gives sectors up.
    pub(crate) const DISCARD: u32 = bindings::VIRTIO_BLK_T_DISCARD;
    /// Makes sectors zeroes.
    pub(crate) const WRITE_ZEROES: u32 = bindings::VIRTIO_BLK_T_WRITE_ZEROES;
    /// Bytes of `type`, `reserved` and `sector`.
    pub(crate) const HEADER: usize = 16;
    /// Bytes of a `virtio_blk_discard_write_zeroes`.
    pub(crate) const RANGE: usize = 16;
    /// Its flag: the sectors may be given up.
    pub(crate) const FLAG_UNMAP: u32 = bindings::VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
    /// Bytes of a serial number.
    pub(crate) const ID_BYTES: usize = bindings::VIRTIO_BLK_ID_BYTES as usize;
}

/// Bytes of a sector, whatever the size of a block (5.2.4).
pub(super) const SECTOR: u64 = 512;
