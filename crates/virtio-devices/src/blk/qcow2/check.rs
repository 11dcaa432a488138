//! Whether an image counts what it uses (docs/interop/qcow2 of QEMU).

use std::fs::File;
use std::io;

use super::clusters::Clusters;
use super::header::{Header, damaged, read_at};

/// Where a table's entry has the offset of a cluster: bits 9 to 55.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// An L2 entry of a compressed cluster: bit 62.
const COMPRESSED: u64 = 1 << 62;
/// Incompatible features, bit 2: the data is in another file, and not counted.
const EXTERNAL_DATA: u64 = 1 << 2;

/// Refuses an image to be written that uses a cluster twice or one that it counts as free: what is
/// written would take its place, and imago (0.2.6) recurses without end where clusters are used that
/// no refcount block covers. What is counted and not used does no harm: a crash may leave it.
///
/// It takes time as the image has tables, and memory as it has clusters: 2 bits for each. Features
/// that nobody knows are left for imago to refuse.
pub(super) fn check_counted(file: &File) -> io::Result<()> {
    let header = Header::read(file)?;
    let mut image = Image {
        file,
        header,
        blocks: Vec::new(),
        used: Clusters::default(),
        compressed: Clusters::default(),
    };
    image.take_refcounts()?;
    image.take_mapping()?;
    image.is_counted()
}

struct Image<'a> {
    file: &'a File,
    header: Header,
    /// Where the refcount blocks are; 0 where there is none.
    blocks: Vec<u64>,
    /// What is used by one.
    used: Clusters,
    /// What compressed clusters share.
    compressed: Clusters,
}

impl Image<'_> {
    /// Takes the `bytes` at `offset` for `what`, which must not be taken yet.
    fn take(&mut self, what: &str, offset: u64, bytes: u64) -> io::Result<()> {
        if !offset.is_multiple_of(self.header.cluster_size() as u64) {
            let what = format!("{what} at {offset:#x} is not at the beginning of a cluster");
            return Err(damaged(&what));
        }
        let first = offset >> self.header.cluster_bits;
        for cluster in first..first + bytes.div_ceil(self.header.cluster_size() as u64) {
            if !self.used.insert(cluster) {
                let what = format!("{what} at {offset:#x} lies where something else does");
                return Err(damaged(&what));
            }
        }
        Ok(())
    }

    /// Takes the header and the refcounts.
    fn take_refcounts(&mut self) -> io::Result<()> {
        let size = self.header.cluster_size();
        self.take("its header", 0, 1)?;
        let (offset, bytes) = (self.header.refcount_offset, self.header.table_bytes());
        self.take("its refcount table", offset, bytes)?;
        let mut table = vec![0; bytes as usize];
        read_at(self.file, &mut table, offset)?;
        let blocks: Vec<u64> = entries(&table).map(|entry| entry & OFFSET).collect();
        for block in blocks.iter().filter(|block| **block != 0) {
            self.take("a refcount block", *block, size as u64)?;
        }
        self.blocks = blocks;
        Ok(())
    }

    /// Takes the L1 table, the L2 tables and the data.
    fn take_mapping(&mut self) -> io::Result<()> {
        let size = self.header.cluster_size();
        let (offset, bytes) = (self.header.l1_offset, self.header.l1_bytes());
        self.take("its L1 table", offset, bytes)?;
        let mut l1 = vec![0; bytes as usize];
        read_at(self.file, &mut l1, offset)?;
        let mut l2 = vec![0; size];
        for table in entries(&l1).map(|entry| entry & OFFSET) {
            if table == 0 {
                continue;
            }
            self.block_of(table >> self.header.cluster_bits)?;
            self.take("an L2 table", table, size as u64)?;
            read_at(self.file, &mut l2, table)?;
            if self.header.incompatible & EXTERNAL_DATA != 0 {
                continue;
            }
            for entry in entries(&l2).filter(|entry| *entry != 0) {
                if entry & COMPRESSED != 0 {
                    self.take_compressed(entry)?;
                } else if entry & OFFSET != 0 {
                    self.block_of((entry & OFFSET) >> self.header.cluster_bits)?;
                    self.take("data", entry & OFFSET, size as u64)?;
                }
            }
        }
        Ok(())
    }

    fn take_compressed(&mut self, entry: u64) -> io::Result<()> {
        // Bits up to here are an offset in bytes; the others, up to bit 61, count sectors of 512
        // behind the first one.
        let bits = 62 - (self.header.cluster_bits - 8);
        let offset = entry & ((1 << bits) - 1);
        let sectors = (entry & (COMPRESSED - 1)) >> bits;
        let end = (offset & !511) + (sectors + 1) * 512;
        for cluster in offset >> self.header.cluster_bits..=(end - 1) >> self.header.cluster_bits {
            self.block_of(cluster)?;
            self.compressed.insert(cluster);
        }
        Ok(())
    }

    /// Where the refcount block is that counts this cluster.
    fn block_of(&self, cluster: u64) -> io::Result<u64> {
        let index = usize::try_from(cluster >> self.header.block_bits()).ok();
        let block = index.and_then(|index| self.blocks.get(index).copied());
        block
            .filter(|block| *block != 0)
            .ok_or_else(|| self.uncounted(cluster))
    }

    fn uncounted(&self, cluster: u64) -> io::Error {
        let offset = cluster << self.header.cluster_bits;
        damaged(&format!("it counts what it uses at {offset:#x} as free"))
    }

    fn is_counted(&self) -> io::Result<()> {
        let order = self.header.refcount_order;
        let block_bits = self.header.block_bits();
        let mut block = vec![0; self.header.cluster_size()];
        let mut loaded = None;
        for cluster in self.used.iter().chain(self.compressed.iter()) {
            let place = self.block_of(cluster)?;
            if loaded != Some(place) {
                read_at(self.file, &mut block, place)?;
                loaded = Some(place);
            }
            let index = (cluster & ((1 << block_bits) - 1)) as usize;
            if !is_counted(&block, index, order) {
                return Err(self.uncounted(cluster));
            }
        }
        let shared = self.compressed.iter().find(|it| self.used.contains(*it));
        match shared.map(|cluster| cluster << self.header.cluster_bits) {
            Some(offset) => Err(damaged(&format!(
                "compressed data at {offset:#x} lies where something else does"
            ))),
            None => Ok(()),
        }
    }
}

/// Whether the refcount of this index in its block is not 0.
fn is_counted(block: &[u8], index: usize, order: u32) -> bool {
    if order >= 3 {
        let bytes = 1 << (order - 3);
        let count = block.get(index * bytes..(index + 1) * bytes);
        return count.is_some_and(|count| count.iter().any(|byte| *byte != 0));
    }
    // Several in a byte, from its lowest bit.
    let bits = 1 << order;
    let byte = block.get(index * bits / 8).copied().unwrap_or(0);
    byte >> (index * bits % 8) & ((1 << bits) - 1) != 0
}

/// The entries of a table.
fn entries(table: &[u8]) -> impl Iterator<Item = u64> {
    table
        .as_chunks()
        .0
        .iter()
        .map(|entry| u64::from_be_bytes(*entry))
}
