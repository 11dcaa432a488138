//! How an image is laid out, whatever its format.

use crate::ImageError;
use crate::clusters::Clusters;
use crate::grains::Grains;
use crate::place::Table;

/// Blocks of an image are powers of two between these: 1 MiB of VDI, 2 MiB of VHD as a rule.
const MIN_BLOCK: u32 = 4 << 10;
pub(crate) const MAX_BLOCK: u32 = 256 << 20;

/// How the blocks of an image are found.
pub(crate) enum Layout {
    /// The whole disk from this offset on.
    Flat(u64),
    /// By a table in memory.
    Table(Table),
    /// By tables of the file.
    Grains(Grains),
    /// By tables of the file, of clusters.
    Clusters(Clusters),
}

/// A format's header, read.
pub(crate) struct Opened {
    /// Bytes of the disk.
    pub(crate) size: u64,
    /// Bytes of a block.
    pub(crate) block: u64,
    /// Bytes that are compressed together: a block, or several.
    pub(crate) packed: u64,
    pub(crate) layout: Layout,
}

/// The size of a block that a header says, if it is one that is read.
pub(crate) fn block_size(block: u32) -> Result<u64, ImageError> {
    match block {
        MIN_BLOCK..=MAX_BLOCK if block.is_power_of_two() => Ok(block.into()),
        _ => Err(ImageError::Unsupported {
            what: "block size",
            value: block.into(),
        }),
    }
}
