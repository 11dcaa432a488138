//! The ELF header (System V ABI, chapter 4).

use linux_loader::elf;
use linux_loader::elf::Elf64_Ehdr;
use vmmkit_guest_memory::ByteValued;

use super::{ElfError, Image};

const EHDR_SIZE: u16 = size_of::<Elf64_Ehdr>() as u16;
const PHDR_SIZE: u16 = size_of::<elf::Elf64_Phdr>() as u16;
/// More program headers than any kernel has; bounds what a lying header makes us read.
const MAX_PROGRAM_HEADERS: u16 = 128;

/// Reads and checks the ELF header of `image`.
pub(super) fn read<I: Image>(image: &mut I) -> Result<Elf64_Ehdr, ElfError> {
    let size = image.size();
    // The identification alone tells most wrong files, also short ones.
    if size < u64::from(EHDR_SIZE) {
        let what = "the ELF header".to_owned();
        return Err(ElfError::Truncated {
            what,
            needed: EHDR_SIZE.into(),
            size,
        });
    }
    let mut header = Elf64_Ehdr::default();
    image
        .read_at(0, header.as_mut_slice())
        .map_err(|source| ElfError::Read {
            what: "the ELF header".to_owned(),
            source,
        })?;
    check_identity(&header.e_ident)?;
    check_target(header.e_type, header.e_machine)?;
    check_table(&header, size)?;
    Ok(header)
}

fn check_identity(ident: &[u8; 16]) -> Result<(), ElfError> {
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
        2 => {}
        1 => return Err(ElfError::Class32),
        other => return field("EI_CLASS", other, "2 (64-bit) is needed"),
    }
    if data != 1 {
        return field("EI_DATA", data, "1 (little-endian) is needed");
    }
    if version != 1 {
        return field("EI_VERSION", version, "1 is the only version there is");
    }
    Ok(())
}

fn check_target(kind: u16, machine: u16) -> Result<(), ElfError> {
    if machine != elf::EM_X86_64 {
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

fn check_table(header: &Elf64_Ehdr, size: u64) -> Result<(), ElfError> {
    let field = |field, value, rule| Err(ElfError::Header { field, value, rule });
    if header.e_version != 1 {
        return field(
            "e_version",
            header.e_version.into(),
            "1 is the only version there is",
        );
    }
    if header.e_ehsize != EHDR_SIZE {
        return field("e_ehsize", header.e_ehsize.into(), "64 is needed");
    }
    if header.e_phentsize != PHDR_SIZE {
        return field("e_phentsize", header.e_phentsize.into(), "56 is needed");
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
    if header.e_phoff < u64::from(EHDR_SIZE) {
        return field(
            "e_phoff",
            header.e_phoff,
            "the table overlaps the ELF header",
        );
    }
    let table = u64::from(PHDR_SIZE).saturating_mul(header.e_phnum.into());
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
