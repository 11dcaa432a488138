//! Clusters of a qcow2 image, by tables of the file.

use std::io::{self, Read};

use flate2::read::DeflateDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use crate::ReadAt;
use crate::fields::be64;
use crate::file::read_with_zeroes;
use crate::place::{Place, SECTOR};

/// Where an entry says that its table or cluster is.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Of an L2 entry.
const COMPRESSED: u64 = 1 << 62;
const COPIED: u64 = 1 << 63;
const ZERO: u64 = 1 << 0;
/// A cluster with an extended entry has 2 to the power of this subclusters.
const SUBCLUSTER_BITS: u32 = 5;

/// How clusters are compressed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Compression {
    /// RFC 1951.
    Deflate,
    /// RFC 8878.
    Zstd,
}

/// How clusters are found. A block is a cluster, or a subcluster of one that has them.
pub(crate) struct Clusters {
    pub(crate) l1: Vec<u64>,
    pub(crate) cluster_bits: u32,
    /// L2 entries have 16 bytes.
    pub(crate) is_extended: bool,
    pub(crate) has_zero_clusters: bool,
    pub(crate) compression: Compression,
}

impl Clusters {
    /// Bytes of the disk that the L1 table covers.
    pub(crate) fn covered(&self) -> u128 {
        (self.l1.len() as u128) << (self.l2_bits() + self.cluster_bits)
    }

    /// Bytes of a block.
    pub(crate) fn block(&self) -> u64 {
        1 << (self.cluster_bits - self.subcluster_bits())
    }

    /// The place of block `number`.
    pub(crate) fn place(&self, file: &impl ReadAt, number: u64) -> io::Result<Place> {
        let cluster = number >> self.subcluster_bits();
        let subcluster = number - (cluster << self.subcluster_bits());
        let table = usize::try_from(cluster >> self.l2_bits()).unwrap_or(usize::MAX);
        let table = match self.l1.get(table).map(|entry| entry & OFFSET) {
            None | Some(0) => return Ok(Place::Nowhere),
            Some(table) => table,
        };
        let mut entry = [0; 16];
        let size = if self.is_extended { 16 } else { 8 };
        let index = cluster & ((1 << self.l2_bits()) - 1);
        let (place, _) = entry.split_at_mut(size);
        file.read_exact_at(place, table + index * size as u64)?;
        let descriptor = be64(&entry, 0);
        if descriptor & COMPRESSED != 0 {
            return Ok(self.compressed(descriptor & !(COMPRESSED | COPIED)));
        }
        let at = descriptor & OFFSET;
        if self.is_extended {
            return self.subcluster(at, be64(&entry, 8), subcluster);
        }
        let is_zero = self.has_zero_clusters && descriptor & ZERO != 0;
        Ok(match at {
            at if at == 0 || is_zero => Place::Nowhere,
            at => Place::At(at),
        })
    }

    /// The place of a subcluster of the cluster at `at`: a bit says that it is there, and one 32 above that it reads
    /// as zeroes.
    fn subcluster(&self, at: u64, bitmap: u64, subcluster: u64) -> io::Result<Place> {
        let is_there = bitmap >> subcluster & 1 != 0;
        let is_zero = bitmap >> (subcluster + 32) & 1 != 0;
        match (is_there, is_zero) {
            (true, false) if at != 0 => Ok(Place::At(at + subcluster * self.block())),
            (true, _) => Err(io::ErrorKind::InvalidData.into()),
            (false, _) => Ok(Place::Nowhere),
        }
    }

    /// The place that the descriptor of a compressed cluster says: the offset, and above it the sectors after its
    /// first one.
    fn compressed(&self, descriptor: u64) -> Place {
        let bits = 62 - (self.cluster_bits - 8);
        let at = descriptor & ((1 << bits) - 1);
        let length = ((descriptor >> bits) + 1) * SECTOR - at % SECTOR;
        Place::CompressedCluster { at, length }
    }

    /// The cluster of `length` compressed bytes at `at`.
    pub(crate) fn decompress(
        &self,
        file: &impl ReadAt,
        at: u64,
        length: u64,
    ) -> io::Result<Vec<u8>> {
        let invalid = |_| io::Error::from(io::ErrorKind::InvalidData);
        // At most 2^14 sectors of 512 bytes, by the entry's bits.
        let mut compressed = vec![0; length as usize];
        read_with_zeroes(file, &mut compressed, at)?;
        let mut cluster = vec![0; 1 << self.cluster_bits];
        let source = compressed.as_slice();
        match self.compression {
            Compression::Deflate => DeflateDecoder::new(source).read_exact(&mut cluster),
            Compression::Zstd => zstd(source)?.read_exact(&mut cluster),
        }
        .map_err(invalid)?;
        Ok(cluster)
    }

    fn subcluster_bits(&self) -> u32 {
        if self.is_extended { SUBCLUSTER_BITS } else { 0 }
    }

    /// An L2 table has 2 to the power of this entries.
    fn l2_bits(&self) -> u32 {
        self.cluster_bits - if self.is_extended { 4 } else { 3 }
    }
}

/// A decoder whose window is of a cluster's size at most: a larger one would hold nothing.
fn zstd(source: &[u8]) -> io::Result<StreamingDecoder<&[u8], FrameDecoder>> {
    const MAX_WINDOW: u64 = 8 << 20;
    StreamingDecoder::new_with_max_window_size(source, MAX_WINDOW)
        .map_err(|_| io::ErrorKind::InvalidData.into())
}
