//! Refcounts in the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use vmmkit_host_io::read_with_zeroes;

use super::header::{Header, number};

/// Where a table's entry has the offset of a cluster: bits 9 to 55.
pub(super) const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// Whether the refcount of this index in its block is not 0.
pub(super) fn is_counted(block: &[u8], index: usize, order: u32) -> bool {
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

/// Sees to it that what is about to be referred to is counted in the file: `bytes` are about to be
/// written at `offset`, and if that is an entry of the L1 table or of the refcount table, the cluster
/// that it names gets a refcount of 1 there, unless it has one.
///
/// imago (0.2.6) keeps refcounts in memory until it flushes them and writes these entries at once:
/// after a kill the file would use clusters that it counts as free. What it writes later says the same.
pub(super) fn count_before_use(
    file: &File,
    header: &Header,
    offset: u64,
    bytes: &[u8],
) -> io::Result<()> {
    // imago writes these entries one by one, and nothing else is so short: the guest's sectors have
    // 512 bytes.
    let Ok(entry) = <[u8; 8]>::try_from(bytes) else {
        return Ok(());
    };
    let used = u64::from_be_bytes(entry) & OFFSET;
    // The refcount table moves when it grows.
    let mut place = [0; 16];
    read_with_zeroes(file, &mut place, 48)?;
    let table = number(&place, 0);
    let clusters = number(&place, 8) >> 32;
    let in_table = table..table.saturating_add(clusters << header.cluster_bits);
    let in_l1 = header.l1_offset..header.l1_offset.saturating_add(header.l1_bytes());
    if used == 0 || !(in_table.contains(&offset) || in_l1.contains(&offset)) {
        return Ok(());
    }
    let cluster = used >> header.cluster_bits;
    let at = table + (cluster >> header.block_bits()) * 8;
    if offset == at {
        // A block that counts itself, and has been written.
        return Ok(());
    }
    let mut block = [0; 8];
    if in_table.contains(&at) {
        read_with_zeroes(file, &mut block, at)?;
    }
    let block = u64::from_be_bytes(block) & OFFSET;
    if block == 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let index = cluster & ((1 << header.block_bits()) - 1);
    count(file, block, index, header.refcount_order)
}

/// Makes the refcount of this index in the block at this offset 1, unless it is more.
fn count(file: &File, block: u64, index: u64, order: u32) -> io::Result<()> {
    // Whole bytes: a refcount, or several that share one.
    let length = (1_usize << order).div_ceil(8);
    let at = block + ((index << order) / 8);
    let mut bytes = [0; 8];
    let bytes = bytes.get_mut(..length).unwrap_or_default();
    read_with_zeroes(file, bytes, at)?;
    let within = (index % (8 >> order.min(3))) as usize;
    if is_counted(bytes, within, order) {
        return Ok(());
    }
    if let Some(last) = bytes.last_mut() {
        *last |= 1 << (within << order);
    }
    file.write_all_at(bytes, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_of_any_width_becomes_one() {
        let path = crate::blk::tests::TempPath::new("counts");
        for order in 0..=6 {
            let file = File::options();
            let mut file = file;
            file.read(true).write(true).create(true).truncate(true);
            let file = file.open(path.get()).unwrap();
            file.set_len(512).unwrap();
            for index in [0, 1, 5, 7] {
                count(&file, 64, index, order).unwrap();
                // A second time changes nothing.
                count(&file, 64, index, order).unwrap();
            }
            let mut block = [0; 448];
            file.read_exact_at(&mut block, 64).unwrap();
            let counted: Vec<usize> = (0..9).filter(|at| is_counted(&block, *at, order)).collect();
            assert_eq!(counted, [0, 1, 5, 7], "order {order}");
            let ones: u32 = block.iter().map(|byte| byte.count_ones()).sum();
            assert_eq!(ones, 4, "order {order}");
        }
    }
}
