//! Whether an image counts what it uses (docs/interop/qcow2 of QEMU).

use std::fs::File;

use rustix::fs::{SeekFrom, seek};

use super::clusters::Clusters;
use super::error::{Damage, Qcow2Error};
use vmmkit_host_io::read_with_zeroes;

use super::header::Header;
use super::refcounts::{OFFSET, is_counted};

/// An L2 entry of a compressed cluster: bit 62.
const COMPRESSED: u64 = 1 << 62;
/// The most clusters of a file that are looked at: two sets of them are 256 MiB.
const MAX_CLUSTERS: u64 = 1 << 30;

/// Refuses an image to be written that uses a cluster twice or one that it counts as free: what is
/// written would take its place, and imago (0.2.6) recurses without end where clusters are used that
/// no refcount block covers. What is counted and not used does no harm: a kill may leave it.
///
/// Whatever the image says, it takes time as its file has data, and memory as it has clusters: 2 bits
/// for each.
pub(super) fn check_counted(file: &File, header: &Header) -> Result<(), Qcow2Error> {
    let clusters = header.end_of(file)? >> header.cluster_bits;
    if clusters > MAX_CLUSTERS {
        let size = header.cluster_size() as u64;
        return Err(Qcow2Error::TooLarge { clusters, size });
    }
    let mut image = Image {
        file,
        header,
        clusters,
        blocks: Vec::new(),
        used: Clusters::new(clusters),
        compressed: Clusters::new(clusters),
    };
    image.take_refcounts()?;
    image.take_mapping()?;
    image.is_counted()
}

struct Image<'a> {
    file: &'a File,
    header: &'a Header,
    /// Of the file.
    clusters: u64,
    /// Where the refcount blocks are; 0 where there is none.
    blocks: Vec<u64>,
    /// The clusters that one uses.
    used: Clusters,
    /// The clusters that compressed clusters share.
    compressed: Clusters,
}

impl Image<'_> {
    /// Takes the `bytes` at `offset` for `what`, which must not be taken yet.
    fn take(&mut self, what: &'static str, offset: u64, bytes: u64) -> Result<(), Damage> {
        let size = self.header.cluster_size() as u64;
        if !offset.is_multiple_of(size) {
            return Err(Damage::Misaligned { what, offset });
        }
        let first = offset / size;
        for cluster in first..first + bytes.div_ceil(size) {
            if cluster >= self.clusters {
                return Err(Damage::BeyondEnd { what, offset });
            }
            if !self.used.insert(cluster) {
                return Err(Damage::UsedTwice { what, offset });
            }
        }
        Ok(())
    }

    /// Takes the header and the refcounts.
    fn take_refcounts(&mut self) -> Result<(), Qcow2Error> {
        let size = self.header.cluster_size() as u64;
        self.take("its header", 0, 1)?;
        let (offset, bytes) = (self.header.refcount_offset, self.header.table_bytes());
        self.take("its refcount table", offset, bytes)?;
        let mut table = vec![0; bytes as usize];
        read_with_zeroes(self.file, &mut table, offset)?;
        let blocks: Vec<u64> = entries(&table).map(|entry| entry & OFFSET).collect();
        for block in blocks.iter().filter(|block| **block != 0) {
            self.take("a refcount block", *block, size)?;
        }
        self.blocks = blocks;
        Ok(())
    }

    /// Takes the L1 table, the L2 tables and the data.
    fn take_mapping(&mut self) -> Result<(), Qcow2Error> {
        let size = self.header.cluster_size();
        let (offset, bytes) = (self.header.l1_offset, self.header.l1_bytes());
        self.take("its L1 table", offset, bytes)?;
        let mut l1 = vec![0; bytes as usize];
        read_with_zeroes(self.file, &mut l1, offset)?;
        let mut l2 = vec![0; size];
        for table in entries(&l1).map(|entry| entry & OFFSET) {
            if table == 0 {
                continue;
            }
            self.take("an L2 table", table, size as u64)?;
            self.block_of(table >> self.header.cluster_bits)?;
            // Each table is read once at most, being used once; one in a hole of the file is empty.
            if self.is_hole(table, size as u64) {
                continue;
            }
            read_with_zeroes(self.file, &mut l2, table)?;
            for entry in entries(&l2).filter(|entry| *entry != 0) {
                if entry & COMPRESSED != 0 {
                    self.take_compressed(entry)?;
                } else if entry & OFFSET != 0 {
                    self.take("data", entry & OFFSET, size as u64)?;
                    self.block_of((entry & OFFSET) >> self.header.cluster_bits)?;
                }
            }
        }
        Ok(())
    }

    fn take_compressed(&mut self, entry: u64) -> Result<(), Damage> {
        // Bits up to here are an offset in bytes; the others, up to bit 61, count sectors of 512
        // behind the first one.
        let bits = 62 - (self.header.cluster_bits - 8);
        let offset = entry & ((1 << bits) - 1);
        let sectors = (entry & (COMPRESSED - 1)) >> bits;
        let end = (offset & !511) + (sectors + 1) * 512;
        for cluster in offset >> self.header.cluster_bits..=(end - 1) >> self.header.cluster_bits {
            if cluster >= self.clusters {
                let what = "compressed data";
                return Err(Damage::BeyondEnd { what, offset });
            }
            self.block_of(cluster)?;
            self.compressed.insert(cluster);
        }
        Ok(())
    }

    /// Whether a part of the file is known to have no data.
    fn is_hole(&self, offset: u64, bytes: u64) -> bool {
        // Past the last data it is ENXIO; what knows no holes has data everywhere.
        match seek(self.file, SeekFrom::Data(offset)) {
            Ok(data) => data >= offset + bytes,
            Err(error) => error == rustix::io::Errno::NXIO,
        }
    }

    /// Where the refcount block is that counts this cluster.
    fn block_of(&self, cluster: u64) -> Result<u64, Damage> {
        let index = usize::try_from(cluster >> self.header.block_bits()).ok();
        let block = index.and_then(|index| self.blocks.get(index).copied());
        block
            .filter(|block| *block != 0)
            .ok_or_else(|| self.uncounted(cluster))
    }

    fn uncounted(&self, cluster: u64) -> Damage {
        Damage::Uncounted(cluster << self.header.cluster_bits)
    }

    fn is_counted(&self) -> Result<(), Qcow2Error> {
        let order = self.header.refcount_order;
        let block_bits = self.header.block_bits();
        let mut block = vec![0; self.header.cluster_size()];
        let mut loaded = None;
        for cluster in self.used.iter().chain(self.compressed.iter()) {
            let place = self.block_of(cluster)?;
            if loaded != Some(place) {
                read_with_zeroes(self.file, &mut block, place)?;
                loaded = Some(place);
            }
            let index = (cluster & ((1 << block_bits) - 1)) as usize;
            if !is_counted(&block, index, order) {
                return Err(self.uncounted(cluster).into());
            }
        }
        let shared = self.compressed.iter().find(|it| self.used.contains(*it));
        match shared.map(|cluster| cluster << self.header.cluster_bits) {
            Some(offset) => {
                let what = "compressed data";
                Err(Damage::UsedTwice { what, offset }.into())
            }
            None => Ok(()),
        }
    }
}

/// The entries of a table.
fn entries(table: &[u8]) -> impl Iterator<Item = u64> {
    table
        .as_chunks()
        .0
        .iter()
        .map(|entry| u64::from_be_bytes(*entry))
}
