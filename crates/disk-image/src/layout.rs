//! How an image is laid out, whatever its format.

use crate::grains::Grains;
use crate::place::Table;

/// How the blocks of an image are found.
pub(crate) enum Layout {
    /// The whole disk from this offset on.
    Flat(u64),
    /// By a table in memory.
    Table(Table),
    /// By tables of the file.
    Grains(Grains),
}

/// A format's header, read.
pub(crate) struct Opened {
    /// Bytes of the disk.
    pub(crate) size: u64,
    /// Bytes of a block.
    pub(crate) block: u64,
    pub(crate) layout: Layout,
}
