//! VMware's hosted sparse extent (Virtual Disk Format 5.0): a grain directory of grain tables of grains.

use crate::fields::{array, le32, le64};
use crate::grains::Grains;
use crate::layout::{Layout, Opened};
use crate::place::SECTOR;
use crate::{ImageError, ReadAt, file};

const MAGIC: &[u8; 4] = b"KDMV";
const DESCRIPTOR: &[u8] = b"# Disk DescriptorFile";
const MAX_VERSION: u32 = 3;
/// Flags.
const ZERO_GRAINS: u32 = 1 << 2;
const COMPRESSED: u32 = 1 << 16;
/// Of `compressAlgorithm`: RFC 1951 in RFC 1950.
const DEFLATE: u16 = 1;
/// The directory's place is in a copy of the header at the end.
const AT_END: u64 = u64::MAX;
/// Where that copy is, before the end of the file.
const FOOTER: u64 = 1024;
/// Bytes of a text that describes the disk, at most.
const MAX_DESCRIPTOR: u64 = 1 << 20;
/// Bytes of a grain.
const MAX_GRAIN: u64 = 16 << 20;
/// Numbers of a grain table, as the format has it.
const MAX_TABLE: u32 = 1 << 16;

pub(crate) fn open(file: &impl ReadAt) -> Result<Opened, ImageError> {
    let mut start = [0; DESCRIPTOR.len()];
    if file.read_exact_at(&mut start, 0).is_ok() && start == DESCRIPTOR {
        return Err(ImageError::Descriptor);
    }
    let first = header(file, 0)?;
    check_parent(file, &first)?;
    let header = match le64(&first, 56) {
        AT_END => header(file, file.size()?.saturating_sub(FOOTER))?,
        _ => first,
    };
    let flags = le32(&header, 8);
    let is_compressed = flags & COMPRESSED != 0;
    let algorithm = u16::from_le_bytes(array(&header, 77));
    if is_compressed && algorithm != DEFLATE {
        return Err(ImageError::Unsupported {
            what: "compression",
            value: algorithm.into(),
        });
    }
    let field = |what, value| ImageError::Field { what, value };
    let size = le64(&header, 12).checked_mul(SECTOR);
    let size = size.ok_or(field("the capacity", le64(&header, 12)))?;
    let block = le64(&header, 20).saturating_mul(SECTOR);
    if !block.is_power_of_two() || !(SECTOR..=MAX_GRAIN).contains(&block) {
        return Err(field("the size of a grain", le64(&header, 20)));
    }
    let grains = match le32(&header, 44) {
        grains @ 1..=MAX_TABLE => u64::from(grains),
        grains => return Err(field("the size of a grain table", grains.into())),
    };
    let tables = size.div_ceil(block).div_ceil(grains);
    let at = le64(&header, 56).saturating_mul(SECTOR);
    let directory = file::bytes(file, "the grain directory", at, tables * 4)?;
    let directory = directory.chunks_exact(4).map(|entry| le32(entry, 0));
    let layout = Layout::Grains(Grains {
        directory: directory.collect(),
        grains,
        has_zero_grains: flags & ZERO_GRAINS != 0,
        is_compressed,
    });
    Ok(Opened {
        size,
        block,
        packed: block,
        layout,
    })
}

/// The header at `at`.
fn header(file: &impl ReadAt, at: u64) -> Result<[u8; 512], ImageError> {
    let header: [u8; 512] = file::array(file, "the header", at)?;
    if array::<4>(&header, 0) != *MAGIC {
        return Err(ImageError::Magic("VMDK"));
    }
    match le32(&header, 4) {
        1..=MAX_VERSION => Ok(header),
        version => Err(ImageError::Unsupported {
            what: "version",
            value: version.into(),
        }),
    }
}

/// The image must be whole, by the text that describes it.
fn check_parent(file: &impl ReadAt, header: &[u8; 512]) -> Result<(), ImageError> {
    let at = le64(header, 28).saturating_mul(SECTOR);
    let length = le64(header, 36).saturating_mul(SECTOR).min(MAX_DESCRIPTOR);
    if at == 0 || length == 0 {
        return Ok(());
    }
    let text = file::bytes(file, "the descriptor", at, length)?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(str::trim);
    let parent = lines.find_map(|line| {
        let (key, value) = line.split_once('=')?;
        key.trim()
            .eq_ignore_ascii_case("parentCID")
            .then_some(value.trim())
    });
    match parent {
        None | Some("ffffffff" | "FFFFFFFF") => Ok(()),
        Some(_) => Err(ImageError::Child),
    }
}
