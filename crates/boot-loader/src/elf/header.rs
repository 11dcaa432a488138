//! The ELF header (System V ABI, chapter 4).

use std::ops::Range;

use linux_loader::elf::{self, Elf64_Ehdr, Elf64_Phdr};
use vmmkit_guest_memory::ByteValued;

use super::{ElfError, Image};
use crate::little_endian::{u16_at, u32_at};

/// More program headers than any kernel has; bounds what a lying header makes us read.
const MAX_PROGRAM_HEADERS: u16 = 128;

/// The fields of the ELF header that are needed, of a 32-bit file as of a 64-bit one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) is_32_bit: bool,
    pub(super) entry: u64,
    pub(super) table: u64,
    pub(super) count: u16,
}

/// Reads and checks the ELF header of `image`.
pub(super) fn read<I: Image>(image: &mut I) -> Result<Header, ElfError> {
    let size = image.size();
    let mut bytes = [0; size_of::<Elf64_Ehdr>()];
    // The smaller header first: it tells most wrong files, and its class how much more there is.
    read_part(image, &mut bytes, 0..EHDR_32)?;
    let identity = bytes.first_chunk().unwrap_or(&[0; 16]);
    let is_32_bit = check_identity(identity)?;
    let header = if is_32_bit {
        widened(&bytes)
    } else {
        read_part(image, &mut bytes, EHDR_32..EHDR_64)?;
        let mut header = Elf64_Ehdr::default();
        copy(header.as_mut_slice(), &bytes);
        header
    };
    check_target(header.e_type, header.e_machine, is_32_bit)?;
    check_table(&header, size, is_32_bit)?;
    Ok(Header {
        is_32_bit,
        entry: header.e_entry,
        table: header.e_phoff,
        count: header.e_phnum,
    })
}

/// Sizes of `Elf32_Ehdr` and `Elf32_Phdr`, which linux-loader does not have.
const EHDR_32: usize = 52;
pub(super) const PHDR_32: usize = 32;
const EHDR_64: usize = size_of::<Elf64_Ehdr>();

/// Sizes of the ELF header and of a program header.
fn sizes(is_32_bit: bool) -> (u16, u16) {
    if is_32_bit {
        (EHDR_32 as u16, PHDR_32 as u16)
    } else {
        (EHDR_64 as u16, size_of::<Elf64_Phdr>() as u16)
    }
}

fn read_part<I: Image>(
    image: &mut I,
    bytes: &mut [u8],
    range: Range<usize>,
) -> Result<(), ElfError> {
    let what = || "the ELF header".to_owned();
    let (start, needed, size) = (range.start as u64, range.end as u64, image.size());
    let part = bytes.get_mut(range).filter(|_| needed <= size);
    let Some(part) = part else {
        return Err(ElfError::Truncated {
            what: what(),
            needed,
            size,
        });
    };
    let what = what();
    image
        .read_at(start, part)
        .map_err(|source| ElfError::Read { what, source })
}

/// As much of `from` as `to` has room for.
fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// An `Elf32_Ehdr` as its 64-bit sibling; `bytes` are at least as long as that.
fn widened(bytes: &[u8; EHDR_64]) -> Elf64_Ehdr {
    let half = |at| u16_at(bytes, at).unwrap_or(0);
    let word = |at| u32_at(bytes, at).unwrap_or(0);
    Elf64_Ehdr {
        e_type: half(16),
        e_machine: half(18),
        e_version: word(20),
        e_entry: word(24).into(),
        e_phoff: word(28).into(),
        e_ehsize: half(40),
        e_phentsize: half(42),
        e_phnum: half(44),
        ..Elf64_Ehdr::default()
    }
}

/// Whether it is a 32-bit file.
fn check_identity(ident: &[u8; 16]) -> Result<bool, ElfError> {
    let [m0, m1, m2, m3, class, data, version, ..] = *ident;
    let field = |field, value: u8, rule| {
        Err(ElfError::Header {
            field,
            value: u64::from(value),
            rule,
        })
    };
    if [m0, m1, m2, m3] != *b"\x7fELF" {
        let value = u64::from(u32::from_le_bytes([m0, m1, m2, m3]));
        let rule = "an ELF starts with 7f 45 4c 46 (0x464c457f)";
        return Err(ElfError::Header {
            field: "EI_MAG",
            value,
            rule,
        });
    }
    match class {
        1 | 2 => {}
        other => return field("EI_CLASS", other, "1 (32-bit) or 2 (64-bit) is needed"),
    }
    if data != 1 {
        return field("EI_DATA", data, "1 (little-endian) is needed");
    }
    if version != 1 {
        return field("EI_VERSION", version, "1 is the only version there is");
    }
    Ok(class == 1)
}

fn check_target(kind: u16, machine: u16, is_32_bit: bool) -> Result<(), ElfError> {
    let is_x86 = match is_32_bit {
        true => machine == elf::EM_386 || machine == elf::EM_486,
        false => machine == elf::EM_X86_64,
    };
    if !is_x86 {
        return Err(ElfError::Machine {
            value: machine,
            name: machine_name(machine),
        });
    }
    let (name, advice) = match kind {
        elf::ET_EXEC => return Ok(()),
        elf::ET_REL => (
            "an object file or kernel module",
            "link it, or give the vmlinux",
        ),
        elf::ET_DYN => (
            "a shared object or position-independent program",
            "give the vmlinux",
        ),
        elf::ET_CORE => ("a core dump", "give the vmlinux"),
        _ => ("of an unknown type", "give the vmlinux"),
    };
    Err(ElfError::Type {
        value: kind,
        name,
        advice,
    })
}

fn check_table(header: &Elf64_Ehdr, size: u64, is_32_bit: bool) -> Result<(), ElfError> {
    let (ehdr_size, phdr_size) = sizes(is_32_bit);
    let of_class = |wide, narrow| if is_32_bit { narrow } else { wide };
    let field = |field, value, rule| Err(ElfError::Header { field, value, rule });
    if header.e_version != 1 {
        return field(
            "e_version",
            header.e_version.into(),
            "1 is the only version there is",
        );
    }
    if header.e_ehsize != ehdr_size {
        let rule = of_class("64 is needed", "52 is needed");
        return field("e_ehsize", header.e_ehsize.into(), rule);
    }
    if header.e_phentsize != phdr_size {
        let rule = of_class("56 is needed", "32 is needed");
        return field("e_phentsize", header.e_phentsize.into(), rule);
    }
    if header.e_phnum == 0 {
        return field(
            "e_phnum",
            0,
            "a kernel has program headers; is this an object file?",
        );
    }
    if header.e_phnum > MAX_PROGRAM_HEADERS {
        return field(
            "e_phnum",
            header.e_phnum.into(),
            "at most 128 program headers are taken",
        );
    }
    if header.e_phoff < u64::from(ehdr_size) {
        return field(
            "e_phoff",
            header.e_phoff,
            "the table overlaps the ELF header",
        );
    }
    let table = u64::from(phdr_size).saturating_mul(header.e_phnum.into());
    let needed = header.e_phoff.saturating_add(table);
    if needed > size {
        let what = format!(
            "{} program headers at e_phoff = {:#x}",
            header.e_phnum, header.e_phoff
        );
        return Err(ElfError::Truncated { what, needed, size });
    }
    Ok(())
}

fn machine_name(machine: u16) -> &'static str {
    match machine {
        elf::EM_386 | elf::EM_486 => "32-bit x86",
        elf::EM_X86_64 => "x86-64",
        elf::EM_MIPS => "MIPS",
        elf::EM_PPC | elf::EM_PPC64 => "PowerPC",
        elf::EM_S390 => "s390",
        elf::EM_ARM => "32-bit ARM",
        elf::EM_AARCH64 => "ARM aarch64",
        elf::EM_RISCV => "RISC-V",
        elf::EM_LOONGARCH => "LoongArch",
        _ => "another processor",
    }
}
