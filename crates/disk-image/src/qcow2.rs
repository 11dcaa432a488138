//! QEMU's image (docs/interop/qcow2 of QEMU), versions 2 and 3: an L1 table of L2 tables of clusters.

use crate::clusters::{Clusters, Compression};
use crate::fields::{be32, be64};
use crate::layout::{Layout, Opened};
use crate::place::SECTOR;
use crate::{ImageError, ReadAt, file};

const MAGIC: u32 = 0x5146_49fb;
/// Bytes of the header that every version has.
const HEADER: usize = 72;
/// Bytes of version 3's header, at least; the compression is after them.
const HEADER_V3: usize = 104;
/// Incompatible features that are read. A dirty image has wrong refcounts at worst, which only writers ask.
const DIRTY: u64 = 1 << 0;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
/// The data is in another file.
const EXTERNAL_DATA: u64 = 1 << 2;
/// Bytes of the L1 table at most: QEMU's limit too.
const MAX_L1: u64 = 32 << 20;
/// A cluster of subclusters has at least this many bits: a subcluster is a sector or more.
const MIN_EXTENDED_BITS: u32 = 14;

pub(crate) fn open(file: &impl ReadAt) -> Result<Opened, ImageError> {
    let header: [u8; HEADER] = file::array(file, "the header", 0)?;
    if be32(&header, 0) != MAGIC {
        return Err(ImageError::Magic("qcow2"));
    }
    let unsupported = |what, value| Err(ImageError::Unsupported { what, value });
    let (features, compression) = match be32(&header, 4) {
        2 => (0, 0),
        3 => later(file)?,
        version => return unsupported("version", version.into()),
    };
    if features & EXTERNAL_DATA != 0 {
        return Err(ImageError::Descriptor);
    }
    match features & !(DIRTY | COMPRESSION | EXTENDED_L2) {
        0 => {}
        unknown => return unsupported("incompatible features", unknown),
    }
    if be32(&header, 32) != 0 {
        return unsupported("encryption", be32(&header, 32).into());
    }
    if be64(&header, 8) != 0 {
        return Err(ImageError::Child);
    }
    let compression = match compression {
        0 => Compression::Deflate,
        1 => Compression::Zstd,
        other => return unsupported("compression", other.into()),
    };
    let is_extended = features & EXTENDED_L2 != 0;
    let least = if is_extended { MIN_EXTENDED_BITS } else { 9 };
    let cluster_bits = be32(&header, 20);
    if !(least..=21).contains(&cluster_bits) {
        return unsupported("cluster bits", cluster_bits.into());
    }
    let clusters = Clusters {
        l1: l1_table(file, &header)?,
        cluster_bits,
        is_extended,
        has_zero_clusters: be32(&header, 4) == 3,
        compression,
    };
    let size = be64(&header, 24);
    if clusters.covered() < u128::from(size) || size > i64::MAX as u64 {
        let what = "the size";
        return Err(ImageError::Field { what, value: size });
    }
    Ok(Opened {
        size: size.next_multiple_of(SECTOR),
        block: clusters.block(),
        packed: 1 << cluster_bits,
        layout: Layout::Clusters(clusters),
    })
}

/// The incompatible features and the compression of version 3.
fn later(file: &impl ReadAt) -> Result<(u64, u8), ImageError> {
    let header: [u8; HEADER_V3] = file::array(file, "the header", 0)?;
    let features = be64(&header, 72);
    if features & COMPRESSION == 0 || be32(&header, 100) as usize <= HEADER_V3 {
        return Ok((features, 0));
    }
    let [compression] = file::array(file, "the header", HEADER_V3 as u64)?;
    Ok((features, compression))
}

fn l1_table(file: &impl ReadAt, header: &[u8; HEADER]) -> Result<Vec<u64>, ImageError> {
    let length = u64::from(be32(header, 36)) * 8;
    if length > MAX_L1 {
        return Err(ImageError::Field {
            what: "the size of the L1 table",
            value: length,
        });
    }
    let table = file::bytes(file, "the L1 table", be64(header, 40), length)?;
    Ok(table.chunks_exact(8).map(|entry| be64(entry, 0)).collect())
}
