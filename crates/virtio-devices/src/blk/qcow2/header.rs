//! The header of an image (docs/interop/qcow2 of QEMU).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What an image begins with.
const MAGIC: &[u8] = b"QFI\xfb";
/// Bytes of the header that are looked at.
const HEADER: usize = 104;
/// The largest L1 and refcount tables in bytes: QEMU's limits too.
const MAX_L1: u64 = 32 << 20;
const MAX_REFCOUNT_TABLE: u64 = 8 << 20;

/// What an image says of its tables.
pub(super) struct Header {
    pub(super) cluster_bits: u32,
    pub(super) l1_entries: u32,
    pub(super) l1_offset: u64,
    pub(super) refcount_offset: u64,
    pub(super) refcount_clusters: u32,
    pub(super) incompatible: u64,
    /// A refcount has 2 to the power of this bits.
    pub(super) refcount_order: u32,
}

impl Header {
    pub(super) fn read(file: &File) -> io::Result<Self> {
        let mut bytes = [0; HEADER];
        read_at(file, &mut bytes, 0)?;
        let long = |at| number(&bytes, at);
        // The upper half of what is there.
        let short = |at| (number(&bytes, at) >> 32) as u32;
        let is_v2 = short(4) == 2;
        let header = Self {
            cluster_bits: short(20),
            l1_entries: short(36),
            l1_offset: long(40),
            refcount_offset: long(48),
            refcount_clusters: short(56),
            incompatible: if is_v2 { 0 } else { long(72) },
            refcount_order: if is_v2 { 4 } else { short(96) },
        };
        if !(9..=21).contains(&header.cluster_bits) || header.refcount_order > 6 {
            return Err(damaged("its header has a size that cannot be"));
        }
        if header.table_bytes() > MAX_REFCOUNT_TABLE || header.l1_bytes() > MAX_L1 {
            return Err(damaged("its header has a table of a size that cannot be"));
        }
        Ok(header)
    }

    pub(super) fn l1_bytes(&self) -> u64 {
        u64::from(self.l1_entries) * 8
    }

    pub(super) fn table_bytes(&self) -> u64 {
        u64::from(self.refcount_clusters) << self.cluster_bits
    }

    /// A refcount block counts 2 to the power of this clusters.
    pub(super) fn block_bits(&self) -> u32 {
        self.cluster_bits + 3 - self.refcount_order
    }

    pub(super) fn cluster_size(&self) -> usize {
        1 << self.cluster_bits
    }
}

/// Refuses an image whose clusters are encrypted: nobody here would decrypt them.
pub(super) fn check_plain(file: &File) -> io::Result<()> {
    let mut bytes = [0; HEADER];
    read_at(file, &mut bytes, 0)?;
    let method = number(&bytes, 32) >> 32;
    if method == 0 || !bytes.starts_with(MAGIC) {
        return Ok(());
    }
    let name = match method {
        1 => "AES".to_owned(),
        2 => "LUKS".to_owned(),
        method => format!("method {method}"),
    };
    let reason = format!(
        "it is encrypted ({name}), which is not supported: decrypt it with `qemu-img convert`"
    );
    Err(io::Error::new(io::ErrorKind::Unsupported, reason))
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// An image that is damaged, and what helps.
pub(super) fn damaged(what: &str) -> io::Error {
    let reason = format!("{what}: repair it with `qemu-img check -r all`");
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Reads; behind the end of the file are zeroes.
pub(super) fn read_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.read_at(buffer, offset) {
            Ok(0) => break,
            Ok(length) => {
                buffer = buffer.get_mut(length..).unwrap_or_default();
                offset += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.fill(0);
    Ok(())
}
