//! Where a block is, and a table in memory that says so.

/// Bytes of a sector, in which the formats count.
pub(crate) const SECTOR: u64 = 512;

/// Where a block of the disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere: it reads as zeroes.
    Nowhere,
    /// At this offset of the file, byte for byte.
    At(u64),
    /// At this offset of the file, a compressed grain.
    CompressedGrain(u64),
    /// In the file, the compressed cluster that the block is in.
    CompressedCluster {
        /// The offset.
        at: u64,
        /// Bytes, at most.
        length: u64,
    },
}

/// The number of each block; [`NOWHERE`](Self::NOWHERE) for those that are nowhere.
pub(crate) struct Table {
    pub(crate) numbers: Vec<u32>,
    /// The offset of number 0.
    pub(crate) start: u64,
    /// Bytes from one number to the next: at most 2^28.
    pub(crate) unit: u64,
}

impl Table {
    pub(crate) const NOWHERE: u32 = u32::MAX;

    pub(crate) fn place(&self, block: u64) -> Place {
        let index = usize::try_from(block).unwrap_or(usize::MAX);
        match self.numbers.get(index) {
            None | Some(&Self::NOWHERE) => Place::Nowhere,
            Some(number) => Place::At(self.start + u64::from(*number) * self.unit),
        }
    }
}
