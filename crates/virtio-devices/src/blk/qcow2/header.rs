//! The header of an image (docs/interop/qcow2 of QEMU).

use std::fs::File;
use std::io::{self, Seek, SeekFrom};

use vmmkit_host_io::read_with_zeroes;

use super::error::{Damage, Qcow2Error};

/// The first bytes of an image.
pub(in crate::blk) const MAGIC: &[u8] = b"QFI\xfb";
/// Bytes of the header that have a place of their own; version 2 has the first 72 of them.
const HEADER: usize = 112;
const HEADER_V2: u32 = 72;
/// The largest L1 and refcount tables in bytes: QEMU's limits too.
const MAX_L1: u64 = 32 << 20;
const MAX_REFCOUNT_TABLE: u64 = 8 << 20;
/// Bytes of a backing file's name.
const MAX_NAME: u32 = 1023;
/// The header extension with the backing file's format.
const BACKING_FORMAT: u32 = 0xe279_2aca;

/// The header of an image.
#[derive(Debug)]
pub(super) struct Header {
    /// Bytes of the guest's disk.
    pub(super) size: u64,
    pub(super) cluster_bits: u32,
    pub(super) l1_entries: u32,
    pub(super) l1_offset: u64,
    pub(super) refcount_offset: u64,
    pub(super) refcount_clusters: u32,
    /// A refcount has 2 to the power of this bits.
    pub(super) refcount_order: u32,
    /// The file behind it, by the name and format that are in the image.
    pub(super) backing: Option<Backing>,
}

/// The reference of an image to the file behind it.
#[derive(Debug)]
pub(super) struct Backing {
    pub(super) name: String,
    pub(super) format: Option<String>,
}

impl Header {
    /// Reads it, and refuses by name what nobody here reads: before any table is looked at.
    pub(super) fn read(file: &File) -> Result<Self, Qcow2Error> {
        let mut bytes = [0; HEADER];
        read_with_zeroes(file, &mut bytes, 0)?;
        let long = |at| number(&bytes, at);
        // The upper half of what is there.
        let short = |at| (number(&bytes, at) >> 32) as u32;
        if !bytes.starts_with(MAGIC) {
            return Err(Qcow2Error::NotAnImage);
        }
        let version = short(4);
        if !(2..=3).contains(&version) {
            return Err(Qcow2Error::Version(version));
        }
        let is_v2 = version == 2;
        let length = if is_v2 { HEADER_V2 } else { short(100) };
        if !is_v2 {
            let has_kind = length > 104;
            let kind = bytes.get(104).copied().filter(|_| has_kind);
            check_features(long(72), kind.unwrap_or(0))?;
        }
        if short(32) != 0 {
            return Err(Qcow2Error::Encrypted(short(32)));
        }
        let mut header = Self {
            size: long(24),
            cluster_bits: short(20),
            l1_entries: short(36),
            l1_offset: long(40),
            refcount_offset: long(48),
            refcount_clusters: short(56),
            refcount_order: if is_v2 { 4 } else { short(96) },
            backing: None,
        };
        header.check()?;
        header.check_tables(file)?;
        header.backing = header.read_backing(file, length, long(8), short(16))?;
        Ok(header)
    }

    fn check(&self) -> Result<(), Damage> {
        if !(9..=21).contains(&self.cluster_bits) {
            return Err(Damage::Header("cluster size"));
        }
        if self.refcount_order > 6 {
            return Err(Damage::Header("refcount size"));
        }
        if self.table_bytes() > MAX_REFCOUNT_TABLE || self.l1_bytes() > MAX_L1 {
            return Err(Damage::TableSize);
        }
        let covered = u128::from(self.l1_entries) << self.range_bits();
        if covered < u128::from(self.size) {
            return Err(Damage::ShortL1);
        }
        Ok(())
    }

    /// The tables must be where the file is: what is behind its end would be read as zeroes, without
    /// end.
    fn check_tables(&self, file: &File) -> Result<(), Qcow2Error> {
        let end = self.end_of(file)?;
        for (what, offset, bytes) in [
            (
                "its refcount table",
                self.refcount_offset,
                self.table_bytes(),
            ),
            ("its L1 table", self.l1_offset, self.l1_bytes()),
        ] {
            if !offset.is_multiple_of(self.cluster_size() as u64) {
                return Err(Damage::Misaligned { what, offset }.into());
            }
            if offset.checked_add(bytes).is_none_or(|last| last > end) {
                return Err(Damage::BeyondEnd { what, offset }.into());
            }
        }
        Ok(())
    }

    /// The extensions and the name that lie between the header and the end of its cluster.
    fn read_backing(
        &self,
        file: &File,
        length: u32,
        offset: u64,
        bytes: u32,
    ) -> Result<Option<Backing>, Qcow2Error> {
        let damage = |what| Qcow2Error::from(Damage::Header(what));
        let mut cluster = vec![0; self.cluster_size()];
        read_with_zeroes(file, &mut cluster, 0)?;
        let mut rest = cluster.get(length as usize..).ok_or(damage("length"))?;
        let mut format = None;
        // Each extension: type, length, and what it has, filled up to a multiple of 8.
        while let Some((head, tail)) = rest.split_at_checked(8) {
            let kind = (number(head, 0) >> 32) as u32;
            if kind == 0 {
                break;
            }
            let length = number(head, 0) as u32 as usize;
            let value = tail.get(..length).ok_or(damage("header extension"))?;
            if kind == BACKING_FORMAT {
                format = Some(String::from_utf8_lossy(value).into_owned());
            }
            rest = tail.get(length.next_multiple_of(8)..).unwrap_or_default();
        }
        if offset == 0 || bytes == 0 {
            return Ok(None);
        }
        let start = usize::try_from(offset).ok();
        let name = start.and_then(|start| cluster.get(start..)?.get(..bytes as usize));
        match name.filter(|_| bytes <= MAX_NAME) {
            Some(name) => Ok(Some(Backing {
                name: String::from_utf8_lossy(name).into_owned(),
                format,
            })),
            None => Err(damage("place of a backing file's name")),
        }
    }

    /// Bytes of the file, up to a whole cluster: the last one need not be whole.
    pub(super) fn end_of(&self, mut file: &File) -> io::Result<u64> {
        let size = file.seek(SeekFrom::End(0))?;
        let whole = size.checked_next_multiple_of(self.cluster_size() as u64);
        Ok(whole.unwrap_or(u64::MAX))
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

    /// An L2 table maps 2 to the power of this bytes of the disk.
    pub(super) fn range_bits(&self) -> u32 {
        self.cluster_bits + self.cluster_bits - 3
    }

    pub(super) fn cluster_size(&self) -> usize {
        1 << self.cluster_bits
    }
}

/// Refuses incompatible features; `compression` is the type that the header has.
fn check_features(features: u64, compression: u8) -> Result<(), Qcow2Error> {
    const DIRTY: u64 = 1 << 0;
    const CORRUPT: u64 = 1 << 1;
    const EXTERNAL_DATA: u64 = 1 << 2;
    const COMPRESSION: u64 = 1 << 3;
    const EXTENDED_L2: u64 = 1 << 4;
    let known = DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION | EXTENDED_L2;
    let has = |feature| features & feature != 0;
    if has(!known) {
        return Err(Qcow2Error::Incompatible(features & !known));
    }
    if has(EXTERNAL_DATA) {
        return Err(Qcow2Error::ExternalData);
    }
    if has(EXTENDED_L2) {
        return Err(Qcow2Error::ExtendedL2);
    }
    if has(COMPRESSION) {
        return Err(Qcow2Error::Compression(compression));
    }
    if has(CORRUPT) {
        return Err(Qcow2Error::Corrupt);
    }
    if has(DIRTY) {
        return Err(Qcow2Error::Dirty);
    }
    Ok(())
}

/// The 8 bytes at `at`, or 0 where there are not so many.
pub(super) fn number(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
