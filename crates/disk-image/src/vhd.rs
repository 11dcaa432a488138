//! The Virtual Hard Disk format (Microsoft, version 1.0): a footer, and before it the disk, or a table of blocks.

use crate::fields::{array, be16, be32, be64};
use crate::layout::{Layout, MAX_BLOCK, Opened, block_size};
use crate::place::{SECTOR, Table};
use crate::{ImageError, ReadAt, file};

const COOKIE: &[u8; 8] = b"conectix";
const DYNAMIC_COOKIE: &[u8; 8] = b"cxsparse";
const VERSION: u32 = 0x1_0000;
const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;
const DIFFERENCING: u32 = 4;
/// Programs whose disks have the size of the footer; those of others end with the last whole cylinder.
const SIZED: [&[u8; 4]; 5] = [b"win ", b"qem2", b"d2v ", b"tap\0", b"vs  "];
/// The largest geometry: of a larger disk it does not tell the size.
const MAX_GEOMETRY: u64 = 65535 * 16 * 255;

pub(crate) fn open(file: &impl ReadAt) -> Result<Opened, ImageError> {
    let end = file.size()?.checked_sub(SECTOR);
    let end = end.ok_or(ImageError::Magic("VHD"))?;
    let footer: [u8; 512] = file::array(file, "the footer", end)?;
    if array::<8>(&footer, 0) != *COOKIE {
        return Err(ImageError::Magic("VHD"));
    }
    check_sum(&footer, 64, "the footer")?;
    let size = size(&footer);
    match (be32(&footer, 12), be32(&footer, 60)) {
        (VERSION, FIXED) => {
            // The disk is all that lies before the footer, or less.
            file::check_within(file, "the disk", 0, size.saturating_add(SECTOR))?;
            Ok(Opened {
                size,
                block: MAX_BLOCK.into(),
                packed: MAX_BLOCK.into(),
                layout: Layout::Flat(0),
            })
        }
        (VERSION, DYNAMIC) => dynamic(file, &footer, size),
        (VERSION, DIFFERENCING) => Err(ImageError::Child),
        (VERSION, kind) => Err(ImageError::Unsupported {
            what: "kind",
            value: kind.into(),
        }),
        (version, _) => Err(ImageError::Unsupported {
            what: "version",
            value: version.into(),
        }),
    }
}

/// The size of the disk in bytes, as Virtual PC and QEMU have it.
fn size(footer: &[u8; 512]) -> u64 {
    let current = be64(footer, 48);
    let (heads, sectors) = (footer[58], footer[59]);
    let sectors = u64::from(be16(footer, 56)) * u64::from(heads) * u64::from(sectors);
    let is_sized = SIZED.contains(&&array::<4>(footer, 28));
    let size = match is_sized || sectors == MAX_GEOMETRY {
        true => current,
        false => sectors * SECTOR,
    };
    size - size % SECTOR
}

fn dynamic(file: &impl ReadAt, footer: &[u8; 512], size: u64) -> Result<Opened, ImageError> {
    let header: [u8; 1024] = file::array(file, "the dynamic disk header", be64(footer, 16))?;
    if array::<8>(&header, 0) != *DYNAMIC_COOKIE {
        return Err(ImageError::Magic("dynamic VHD"));
    }
    check_sum(&header, 36, "the dynamic disk header")?;
    let block = block_size(be32(&header, 32))?;
    let used = size.div_ceil(block);
    if used > u64::from(be32(&header, 28)) {
        let what = "the size";
        return Err(ImageError::Field { what, value: size });
    }
    let table = file::bytes(file, "the table of blocks", be64(&header, 16), used * 4)?;
    // A bit for each sector, in whole sectors, lies before each block.
    let bitmap = (block / SECTOR / 8).next_multiple_of(SECTOR);
    let numbers = table.chunks_exact(4).map(|entry| be32(entry, 0));
    Ok(Opened {
        size,
        block,
        packed: block,
        layout: Layout::Table(Table {
            numbers: numbers.collect(),
            start: bitmap,
            unit: SECTOR,
        }),
    })
}

/// The sum of all bytes but those of the sum itself, at `at`, in ones' complement.
fn check_sum(bytes: &[u8], at: usize, what: &'static str) -> Result<(), ImageError> {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let own = bytes.get(at..at + 4).unwrap_or_default();
    match !(sum(bytes) - sum(own)) == be32(bytes, at) {
        true => Ok(()),
        false => Err(ImageError::Checksum(what)),
    }
}
