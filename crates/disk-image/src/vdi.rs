//! VirtualBox's disk image: a header, a map of blocks, blocks.

use crate::fields::{array, le32, le64};
use crate::layout::{Layout, Opened, block_size};
use crate::place::{SECTOR, Table};
use crate::{ImageError, ReadAt, file};

const SIGNATURE: u32 = 0xbeda_107f;
/// Version 1.1.
const VERSION: u32 = 0x1_0001;
/// Bytes of the header that are read.
const HEADER: usize = 456;
/// The kinds of images that stand alone.
const DYNAMIC: u32 = 1;
const FIXED: u32 = 2;
/// The kinds that do not: undo and differencing images.
const CHILDREN: [u32; 2] = [3, 4];
/// From here on a block is nowhere: never written, or discarded.
const NOWHERE: u32 = 0xffff_fffe;

pub(crate) fn open(file: &impl ReadAt) -> Result<Opened, ImageError> {
    let header: [u8; HEADER] = file::array(file, "the header", 0)?;
    if le32(&header, 64) != SIGNATURE {
        return Err(ImageError::Magic("VDI"));
    }
    let unsupported = |what, value: u32| {
        Err(ImageError::Unsupported {
            what,
            value: value.into(),
        })
    };
    match le32(&header, 68) {
        VERSION => {}
        version => return unsupported("version", version),
    }
    match le32(&header, 76) {
        DYNAMIC | FIXED => {}
        kind if CHILDREN.contains(&kind) => return Err(ImageError::Child),
        kind => return unsupported("kind", kind),
    }
    // The UUIDs of the image that it is made upon.
    if array::<32>(&header, 424) != [0; 32] {
        return Err(ImageError::Child);
    }
    match le32(&header, 360) {
        512 => {}
        size => return unsupported("sector size", size),
    }
    match le32(&header, 380) {
        0 => {}
        extra => return unsupported("extra bytes of a block", extra),
    }
    let block = block_size(le32(&header, 376))?;
    let size = le64(&header, 368);
    let blocks = u64::from(le32(&header, 384));
    if size.div_ceil(block) > blocks {
        let what = "the size";
        return Err(ImageError::Field { what, value: size });
    }
    let map = u64::from(le32(&header, 340));
    let data = u64::from(le32(&header, 344));
    let used = size.div_ceil(block);
    let map = file::bytes(file, "the map of blocks", map, used * 4)?;
    let numbers = map.chunks_exact(4).map(|entry| match le32(entry, 0) {
        NOWHERE.. => Table::NOWHERE,
        number => number,
    });
    Ok(Opened {
        size: size.next_multiple_of(SECTOR).min(used * block),
        block,
        packed: block,
        layout: Layout::Table(Table {
            numbers: numbers.collect(),
            start: data,
            unit: block,
        }),
    })
}
