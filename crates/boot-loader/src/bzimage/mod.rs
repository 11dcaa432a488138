//! bzImages of boot protocol 2.02 and later.
//!
//! linux-loader gives `setup_header`; its `BzImage` loader is not used, because it copies the
//! header beyond its own length, looks at neither `init_size`, `xloadflags`, alignment nor
//! `relocatable_kernel`, takes the file's size for the kernel's end, so that an initrd lands where
//! the decompressor writes, and copies what follows the kernel in the file.

mod error;
mod header;

pub use error::BzImageError;
pub(crate) use header::Header;

use vmmkit_guest_memory::{GuestAddress, GuestRam};

use crate::elf::{self, ElfKernel, ImageStream};
use crate::memory_map::low_ram_end;
use crate::payload::{self, Compression};
use crate::region::Region;

/// Offset of the 64-bit entry in the protected-mode code (boot protocol, "64-bit boot protocol").
const ENTRY_64: u64 = 0x200;

/// The most a payload may decompress to where the protocol is too old for `init_size`.
const OLD_SIZE_MAX: u64 = 256 << 20;

/// How the payload of a bzImage is compressed; the first bytes where that is not known.
pub(crate) fn compression(
    file: &Region<'_>,
    header: &Header,
) -> Result<Result<Compression, Vec<u8>>, BzImageError> {
    let Some((offset, length)) = header.payload() else {
        return Ok(Err(Vec::new()));
    };
    let failed = |source| BzImageError::Read {
        what: "the payload's magic",
        source,
    };
    let start = file.bytes(offset, length.min(8) as usize).map_err(failed)?;
    Ok(Compression::of(&start).ok_or(start))
}

/// The error for a payload that cannot be decompressed here.
pub(crate) fn unknown_payload(header: &Header, start: Vec<u8>) -> BzImageError {
    if start.is_empty() {
        let reason = "its header gives none (protocol 2.08 has payload_offset)".to_owned();
        return BzImageError::NoEntry {
            entry: "payload",
            reason,
        };
    }
    BzImageError::UnknownPayload {
        start,
        offset: header.raw.payload_offset,
    }
}

/// Decompresses the payload into RAM.
pub(crate) fn load_payload(
    ram: &GuestRam,
    file: &Region<'_>,
    header: &Header,
    compression: Compression,
) -> Result<ElfKernel, BzImageError> {
    check_room(ram, header)?;
    let Some((offset, length)) = header.payload() else {
        let reason = "its protocol has no payload (2.08 has)".to_owned();
        return Err(BzImageError::NoEntry {
            entry: "payload",
            reason,
        });
    };
    let size = decompressed_size(file, header, offset, length, compression)?;
    let packed = if compression.size_is_appended() {
        length - 4
    } else {
        length
    };
    let failed = |source| BzImageError::Payload {
        compression,
        source,
    };
    let reader = file.reader(offset, packed).map_err(failed)?;
    let reader = payload::decompress(compression, reader).map_err(failed)?;
    let mut image = ImageStream::new(reader, size);
    let kernel = elf::load(ram, &mut image).map_err(|source| BzImageError::PayloadElf {
        compression,
        source,
    })?;
    image.finish().map_err(failed)?;
    Ok(kernel)
}

/// The protected-mode code in RAM.
pub(crate) struct Setup {
    /// Its entry, by the 64-bit protocol or else the 32-bit one.
    pub(crate) address: u64,
    pub(crate) is_64_bit: bool,
    /// Bytes of it.
    pub(crate) placed: u64,
}

/// Copies the protected-mode code, as it is, to where it runs.
pub(crate) fn load_setup(
    ram: &GuestRam,
    file: &Region<'_>,
    header: &Header,
) -> Result<Setup, BzImageError> {
    let is_64_bit = header.has_64_bit_entry();
    if !is_64_bit {
        needs_bios(file, header)?;
    }
    check_room(ram, header)?;
    let failed = |source| BzImageError::Read {
        what: "the protected-mode code",
        source,
    };
    let placed = file.size().saturating_sub(header.code_offset);
    let placed = header.code_size.min(placed);
    let start = header.address();
    file.copy_to(header.code_offset, placed, ram, GuestAddress(start))
        .map_err(failed)?;
    Ok(Setup {
        address: start.saturating_add(if is_64_bit { ENTRY_64 } else { 0 }),
        is_64_bit,
        placed,
    })
}

/// Refuses programs that dress as a kernel for real-mode loaders' sake: they ask a BIOS for all.
fn needs_bios(file: &Region<'_>, header: &Header) -> Result<(), BzImageError> {
    let name = version(file, header).unwrap_or_default();
    let is_memdisk = name.starts_with("MEMDISK");
    if is_memdisk || header.raw.code32_start == 0 {
        return Err(BzImageError::RealMode { name });
    }
    Ok(())
}

/// Checks that the kernel has RAM for all it does before it reads its memory map.
fn check_room(ram: &GuestRam, header: &Header) -> Result<(), BzImageError> {
    let address = header.address();
    let init_size = header.init_size().unwrap_or(header.code_size);
    if ram.contains(GuestAddress(address), init_size) {
        Ok(())
    } else {
        Err(BzImageError::OutsideRam {
            init_size,
            address,
            ram_end: low_ram_end(ram),
        })
    }
}

/// The size that the payload says it decompresses to: its last 4 bytes (for gzip its own trailer,
/// RFC 1952 `ISIZE`; for the others appended by the kernel's build).
fn decompressed_size(
    file: &Region<'_>,
    header: &Header,
    offset: u64,
    length: u64,
    compression: Compression,
) -> Result<u64, BzImageError> {
    if compression == Compression::None {
        return Ok(length);
    }
    let Some(trailer) = length.checked_sub(4) else {
        let rule = "it is too short for a compressed kernel";
        return Err(BzImageError::Field {
            field: "payload_length",
            value: length,
            rule,
        });
    };
    let failed = |source| BzImageError::Read {
        what: "the payload's size",
        source,
    };
    let mut bytes = [0; 4];
    file.read_at(offset.saturating_add(trailer), &mut bytes)
        .map_err(failed)?;
    let claimed = u64::from(u32::from_le_bytes(bytes));
    // Linux computes init_size so that the whole decompressed file fits (arch/x86/boot/header.S).
    let limit = header.init_size().unwrap_or(OLD_SIZE_MAX);
    if claimed > limit {
        return Err(BzImageError::PayloadSize { claimed, limit });
    }
    Ok(claimed)
}

/// The version string, such as `6.1.0 (builder@host) #1 SMP`, where the header points to one.
pub(crate) fn version(file: &Region<'_>, header: &Header) -> Option<String> {
    let bytes = file.bytes(header.version_offset()?, 256).ok()?;
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
    (!text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)))
        .then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
