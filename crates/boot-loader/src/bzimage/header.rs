//! The setup header of a bzImage (Linux/x86 boot protocol, "The Real-Mode Kernel Header").

use linux_loader::bootparam::setup_header;
use vmmkit_guest_memory::ByteValued;

use super::BzImageError;
use crate::cmdline;
use crate::initrd;
use crate::memory_map::HIGH_MEMORY;
use crate::region::Region;

/// Where the header is, in the file as in the zero page: field `setup_sects`.
const HEADER_START: u64 = 0x1f1;
/// The offset, in the file, from which `jump` counts the header's end.
const JUMP_END: usize = 0x202;
/// Offset of `jump` in the header.
const JUMP: usize = 0x200 - 0x1f1;
const SECTOR: u64 = 512;
/// `loadflags`: the protected-mode code goes to 1 MiB.
const LOADED_HIGH: u8 = 1;
/// `xloadflags`: a 64-bit entry is at 0x200 of the protected-mode code.
const XLF_KERNEL_64: u16 = 1;
/// The alignment of a `kernel_alignment` that is smaller than a page.
const MIN_ALIGNMENT: u32 = 4096;

/// A setup header whose fields agree with each other and with the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// The header as the file has it, cut at its own length; zeroes after.
    pub(crate) raw: setup_header,
    /// Offset of the protected-mode code in the file.
    pub(crate) code_offset: u64,
    /// Size of the protected-mode code, by `syssize`.
    pub(crate) code_size: u64,
}

impl Header {
    /// Reads and checks the header of `file`.
    pub(crate) fn read(file: &Region<'_>) -> Result<Self, BzImageError> {
        let size = file.size();
        let raw = read_raw(file)?;
        let (major, minor) = ((raw.version >> 8) as u8, (raw.version & 0xff) as u8);
        if raw.version < 0x202 {
            return Err(BzImageError::Protocol { major, minor });
        }
        let sectors = if raw.setup_sects == 0 {
            4
        } else {
            u64::from(raw.setup_sects)
        };
        let code_offset = (sectors + 1) * SECTOR;
        // Before 2.04 syssize has 16 bits and cannot be trusted: the code goes on to the file's end.
        let code_size = match raw.version {
            ..0x204 => size.saturating_sub(code_offset),
            _ => u64::from(raw.syssize) * 16,
        };
        let header = Self {
            raw,
            code_offset,
            code_size,
        };
        header.check_layout(size)?;
        header.check_placement()?;
        header.check_payload()?;
        Ok(header)
    }

    /// The protocol's version: major, minor.
    pub(crate) fn protocol(&self) -> (u8, u8) {
        (
            (self.raw.version >> 8) as u8,
            (self.raw.version & 0xff) as u8,
        )
    }

    /// Where the kernel is loaded and runs from.
    pub(crate) fn address(&self) -> u64 {
        if self.raw.version >= 0x20a {
            self.raw.pref_address
        } else {
            HIGH_MEMORY.0
        }
    }

    /// The bytes it needs there until it has its own memory map; unknown before protocol 2.10.
    pub(crate) fn init_size(&self) -> Option<u64> {
        (self.raw.version >= 0x20a).then_some(self.raw.init_size.into())
    }

    /// Whether the protected-mode code has a 64-bit entry.
    pub(crate) fn has_64_bit_entry(&self) -> bool {
        self.raw.version >= 0x20c && self.raw.xloadflags & XLF_KERNEL_64 != 0
    }

    /// The longest command line in bytes, without its NUL: 255 before protocol 2.06.
    pub(crate) fn cmdline_limit(&self) -> u32 {
        match self.raw.version {
            ..0x206 => cmdline::OLD_LIMIT,
            _ => self.raw.cmdline_size,
        }
    }

    /// The highest address that an initrd may cover.
    pub(crate) fn initrd_max(&self) -> u64 {
        match self.raw.version {
            ..0x203 => initrd::OLD_ADDRESS_MAX,
            _ => self.raw.initrd_addr_max.into(),
        }
    }

    /// Offset in the file and size of the payload, where the protocol has one.
    pub(crate) fn payload(&self) -> Option<(u64, u64)> {
        let (offset, length) = (self.raw.payload_offset, self.raw.payload_length);
        (self.raw.version >= 0x208 && length > 0)
            .then_some((self.code_offset + u64::from(offset), u64::from(length)))
    }

    /// Offset in the file of the version string, where there is one.
    pub(crate) fn version_offset(&self) -> Option<u64> {
        let offset = u64::from(self.raw.kernel_version);
        let end = self.code_offset;
        (offset > 0 && offset + SECTOR < end).then_some(offset + SECTOR)
    }

    fn check_layout(&self, size: u64) -> Result<(), BzImageError> {
        let raw = &self.raw;
        if raw.boot_flag != 0xaa55 {
            return field("boot_flag", raw.boot_flag.into(), "0xaa55 is needed");
        }
        if raw.loadflags & LOADED_HIGH == 0 {
            let rule = "LOADED_HIGH (bit 0) is clear: this is a zImage, not a bzImage";
            return field("loadflags", raw.loadflags.into(), rule);
        }
        if self.code_size == 0 {
            return field("syssize", 0, "there is no protected-mode code");
        }
        // Rounded up to 16 bytes, so that the last paragraph may be incomplete.
        let needed = self.code_offset + self.code_size;
        if needed > size.saturating_add(15) {
            let what = format!("setup_sects = {}, syssize = {:#x}", { raw.setup_sects }, {
                raw.syssize
            });
            return Err(BzImageError::Truncated { what, needed, size });
        }
        Ok(())
    }

    fn check_placement(&self) -> Result<(), BzImageError> {
        let raw = &self.raw;
        if raw.version < 0x205 {
            return Ok(()); // none of these fields is there
        }
        let alignment = raw.kernel_alignment;
        if raw.relocatable_kernel > 1 {
            let rule = "0 or 1 is needed";
            return field("relocatable_kernel", raw.relocatable_kernel.into(), rule);
        }
        let movable = raw.relocatable_kernel == 1;
        if (movable || alignment != 0) && !alignment.is_power_of_two() {
            return field(
                "kernel_alignment",
                alignment.into(),
                "a power of two is needed",
            );
        }
        if raw.version < 0x20a {
            return Ok(());
        }
        let address = raw.pref_address;
        if address < HIGH_MEMORY.0 {
            let rule = "it lies below 1 MiB (0x100000), where boot data goes";
            return field("pref_address", address, rule);
        }
        if !address.is_multiple_of(alignment.max(MIN_ALIGNMENT).into()) {
            return field(
                "pref_address",
                address,
                "it is not aligned to kernel_alignment",
            );
        }
        if address.checked_add(raw.init_size.into()).is_none() {
            return field(
                "pref_address",
                address,
                "with init_size it goes past 64 bits",
            );
        }
        if u64::from(raw.init_size) < self.code_size {
            let rule = "it is smaller than the protected-mode code (syssize * 16)";
            return field("init_size", raw.init_size.into(), rule);
        }
        Ok(())
    }

    fn check_payload(&self) -> Result<(), BzImageError> {
        let raw = &self.raw;
        if raw.version < 0x208 {
            return Ok(());
        }
        if u64::from(raw.payload_offset) > self.code_size {
            let rule = "it lies outside the protected-mode code (syssize * 16)";
            return field("payload_offset", raw.payload_offset.into(), rule);
        }
        let end = u64::from(raw.payload_offset) + u64::from(raw.payload_length);
        if end > self.code_size {
            let rule = "with payload_offset it ends outside the protected-mode code (syssize * 16)";
            return field("payload_length", raw.payload_length.into(), rule);
        }
        Ok(())
    }
}

/// Reads the header and cuts it at the length that its `jump` gives.
fn read_raw(file: &Region<'_>) -> Result<setup_header, BzImageError> {
    let size = file.size();
    let mut raw = setup_header::default();
    let bytes = file
        .bytes(HEADER_START, size_of::<setup_header>())
        .map_err(|source| BzImageError::Read {
            what: "the setup header",
            source,
        })?;
    // `jump` is a short JMP over the header: its second byte counts from 0x202.
    let [opcode, distance] = match bytes.get(JUMP..JUMP + 2) {
        Some([opcode, distance]) => [*opcode, *distance],
        _ => {
            let what = "the setup header".to_owned();
            return Err(BzImageError::Truncated {
                what,
                needed: 0x202,
                size,
            });
        }
    };
    if opcode != 0xeb {
        let value = u16::from_le_bytes([opcode, distance]).into();
        return field(
            "jump",
            value,
            "a short jump (0xeb and the header's length) is needed",
        );
    }
    let length = JUMP_END + usize::from(distance) - HEADER_START as usize;
    // Up to cmd_line_ptr: what protocol 2.02 has.
    let (least, known) = (0x22c - HEADER_START as usize, size_of::<setup_header>());
    if length < least {
        let rule = "the header it spans ends before the fields of protocol 2.02";
        return field("jump", u16::from_le_bytes([opcode, distance]).into(), rule);
    }
    let length = length.min(known);
    let Some(present) = bytes.get(..length) else {
        let what = "the setup header".to_owned();
        return Err(BzImageError::Truncated {
            what,
            needed: HEADER_START + length as u64,
            size,
        });
    };
    if let Some(target) = raw.as_mut_slice().get_mut(..length) {
        target.copy_from_slice(present);
    }
    Ok(raw)
}

fn field<T>(field: &'static str, value: u64, rule: &'static str) -> Result<T, BzImageError> {
    Err(BzImageError::Field { field, value, rule })
}
