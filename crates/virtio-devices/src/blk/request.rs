//! From the bytes of a request to what it asks for (5.2.6).

use super::spec::{SECTOR, feature, request};

/// The last byte that the device writes: what became of a request (5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BlockStatus {
    /// It was done.
    Ok = 0,
    /// It failed, or asked for what the disk does not have.
    IoError = 1,
    /// The device does not know such requests.
    Unsupported = 2,
}

/// The limits that requests are held against.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlockLimits {
    /// Bytes of the disk.
    pub capacity: u64,
    /// Nothing may be written.
    pub read_only: bool,
    /// The features that the driver took.
    pub features: u64,
}

/// A request that keeps the rules: offsets and lengths are in bytes, whole sectors, and lie on the
/// disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockRequest {
    /// Reads.
    Read {
        /// From here.
        offset: u64,
        /// So much.
        length: u64,
    },
    /// Writes.
    Write {
        /// To here.
        offset: u64,
        /// So much.
        length: u64,
    },
    /// Makes all writes durable that are complete.
    Flush,
    /// Asks for the serial number.
    Identify,
    /// The contents are not needed any more.
    Discard {
        /// From here.
        offset: u64,
        /// So much.
        length: u64,
    },
    /// Makes it zeroes.
    WriteZeroes {
        /// From here.
        offset: u64,
        /// So much.
        length: u64,
        /// The space may be given up.
        unmap: bool,
    },
}

/// The most sectors of one DISCARD: 2 GiB.
pub(super) const MAX_DISCARD_SECTORS: u32 = 4 << 20;
/// The most sectors of one WRITE_ZEROES: 32 MiB, which a host that can only write them writes.
pub(super) const MAX_ZERO_SECTORS: u32 = 64 << 10;

/// Bytes that [`parse_block_request`] needs of what the driver has written, where there are so many.
pub(super) const HEAD: usize = request::HEADER + request::RANGE;

impl BlockRequest {
    /// Bytes of the guest's RAM that it moves.
    pub fn data(&self) -> u64 {
        match *self {
            Self::Read { length, .. } | Self::Write { length, .. } => length,
            _ => 0,
        }
    }

    /// The range of the disk that it changes: offset and length.
    pub(super) fn change(&self) -> Option<(u64, u64)> {
        match *self {
            Self::Write { offset, length }
            | Self::Discard { offset, length }
            | Self::WriteZeroes { offset, length, .. } => Some((offset, length)),
            Self::Read { .. } | Self::Flush | Self::Identify => None,
        }
    }
}

/// Reads a request: `head` is the beginning of what the driver has written (32 bytes, if there are so
/// many) of `readable` bytes in all, and `writable` is the room it has for data and status.
///
/// # Errors
/// The status to answer with.
pub fn parse_block_request(
    head: &[u8],
    readable: u64,
    writable: u64,
    limits: &BlockLimits,
) -> Result<BlockRequest, BlockStatus> {
    let kind = le32(head, 0).ok_or(BlockStatus::IoError)?;
    let sector = le64(head, 8).ok_or(BlockStatus::IoError)?;
    let sent = readable
        .checked_sub(request::HEADER as u64)
        .ok_or(BlockStatus::IoError)?;
    // All but the status.
    let wanted = writable.checked_sub(1).ok_or(BlockStatus::IoError)?;
    match kind {
        request::IN => {
            let offset = limits.check(sector, wanted)?;
            Ok(BlockRequest::Read {
                offset,
                length: wanted,
            })
        }
        request::OUT => {
            limits.check_writable()?;
            let offset = limits.check(sector, sent)?;
            Ok(BlockRequest::Write {
                offset,
                length: sent,
            })
        }
        request::FLUSH => Ok(BlockRequest::Flush),
        request::GET_ID => Ok(BlockRequest::Identify),
        request::DISCARD => {
            limits.check_taken(feature::DISCARD)?;
            let range = Range::parse(head, sent, MAX_DISCARD_SECTORS, limits)?;
            // 5.2.6.2: a discard with the flag is not supported.
            if range.flags != 0 {
                return Err(BlockStatus::Unsupported);
            }
            Ok(BlockRequest::Discard {
                offset: range.offset,
                length: range.length,
            })
        }
        request::WRITE_ZEROES => {
            limits.check_taken(feature::WRITE_ZEROES)?;
            let range = Range::parse(head, sent, MAX_ZERO_SECTORS, limits)?;
            if range.flags & !request::FLAG_UNMAP != 0 {
                return Err(BlockStatus::Unsupported);
            }
            Ok(BlockRequest::WriteZeroes {
                offset: range.offset,
                length: range.length,
                unmap: range.flags & request::FLAG_UNMAP != 0,
            })
        }
        _ => Err(BlockStatus::Unsupported),
    }
}

/// A `virtio_blk_discard_write_zeroes`, the only one of its request.
struct Range {
    offset: u64,
    length: u64,
    flags: u32,
}

impl Range {
    fn parse(head: &[u8], sent: u64, most: u32, limits: &BlockLimits) -> Result<Self, BlockStatus> {
        // max_discard_seg and max_write_zeroes_seg are 1.
        if sent != request::RANGE as u64 {
            return Err(BlockStatus::IoError);
        }
        let sector = le64(head, request::HEADER).ok_or(BlockStatus::IoError)?;
        let count = le32(head, request::HEADER + 8).ok_or(BlockStatus::IoError)?;
        let flags = le32(head, request::HEADER + 12).ok_or(BlockStatus::IoError)?;
        if count > most {
            return Err(BlockStatus::IoError);
        }
        let length = u64::from(count) * SECTOR;
        Ok(Self {
            offset: limits.check(sector, length)?,
            length,
            flags,
        })
    }
}

impl BlockLimits {
    /// The offset of `length` bytes at `sector`, which must be whole sectors on the disk.
    fn check(&self, sector: u64, length: u64) -> Result<u64, BlockStatus> {
        let offset = sector.checked_mul(SECTOR).ok_or(BlockStatus::IoError)?;
        let end = offset.checked_add(length).ok_or(BlockStatus::IoError)?;
        if !length.is_multiple_of(SECTOR) || end > self.capacity {
            return Err(BlockStatus::IoError);
        }
        Ok(offset)
    }

    fn check_writable(&self) -> Result<(), BlockStatus> {
        // 5.2.6.2: a write to a read-only disk fails with S_IOERR.
        if self.read_only {
            return Err(BlockStatus::IoError);
        }
        Ok(())
    }

    fn check_taken(&self, feature: u64) -> Result<(), BlockStatus> {
        self.check_writable()?;
        if self.features & feature == 0 {
            return Err(BlockStatus::Unsupported);
        }
        Ok(())
    }
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
