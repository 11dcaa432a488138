//! Advice for a kernel, or what goes with it, that cannot be loaded.

use vmmkit_boot_loader::{
    BzImageError, ElfError, FileKind, FirmwareError, InitrdError, KindError, LoadError,
    MultibootError,
};
use vmmkit_guest_memory::MMIO_HOLE_START;
use vmmkit_vmm::BootFile;

/// The least memory that is advised, in MiB.
const LEAST_MEMORY: u64 = 64;

/// Advice for `error`, met with the kernel at `kernel`.
pub(crate) fn of(error: &LoadError, kernel: &BootFile, chose_entry: bool) -> String {
    if let Some(mebibytes) = memory_needed(error) {
        return format!("--memory {mebibytes}M, or more for what runs in it");
    }
    let advice = match error {
        LoadError::Initrd(InitrdError::NotInitrd { kind, .. }) => return for_initrd(*kind),
        LoadError::Initrd(_) => "give the initrd that belongs to the kernel, and --memory for both",
        LoadError::Module { .. } => "check the file, and give --memory for all of them",
        LoadError::ModulesNotTaken => "leave --module out, or give one file as --initrd",
        LoadError::ModulesTooMany { .. } => "give fewer modules, or shorter arguments",
        LoadError::Firmware(FirmwareError::Kind { kind, .. }) => return for_firmware(*kind),
        LoadError::Firmware(_) => "give a flat image, such as bios.bin of Debian's seabios",
        LoadError::Cmdline(_) => "give a shorter one of printable text",
        LoadError::RamTooSmall { .. } => "ask for more, such as --memory 256M",
        LoadError::NoSetup
        | LoadError::NoMultiboot
        | LoadError::Elf(ElfError::NoPvhNote)
        | LoadError::BzImage(BzImageError::NoEntry { .. })
            if chose_entry =>
        {
            "leave --entry out, or give --entry auto"
        }
        LoadError::BzImage(BzImageError::RealMode { .. }) => {
            "boot it from a disk or CD image, by --firmware and --disk"
        }
        LoadError::LowMemory { .. } => "link the kernel to lie elsewhere, best above 1 MiB",
        LoadError::Kind(KindError::Other { kind }) => return for_kernel(*kind, kernel),
        _ => "give an x86-64 Linux kernel: an ELF vmlinux or a bzImage",
    };
    advice.to_owned()
}

/// The memory in MiB, a power of two, that a kernel needs which does not fit.
pub(crate) fn memory_needed(error: &LoadError) -> Option<u64> {
    let (address, size) = match error {
        LoadError::Elf(error)
        | LoadError::BzImage(BzImageError::PayloadElf { source: error, .. }) => match error {
            ElfError::OutsideRam { address, size, .. } => (*address, *size),
            _ => return None,
        },
        LoadError::BzImage(BzImageError::OutsideRam {
            init_size, address, ..
        }) => (*address, *init_size),
        LoadError::Multiboot(MultibootError::OutsideRam { address, size, .. }) => (*address, *size),
        _ => return None,
    };
    // From there on no RAM would help: the hole for devices comes, which kernels are not linked at.
    let end = address.checked_add(size)?;
    if end > MMIO_HOLE_START.0 {
        return None;
    }
    let mebibytes = end.div_ceil(1 << 20).checked_next_power_of_two()?;
    Some(mebibytes.max(LEAST_MEMORY))
}

fn for_kernel(kind: FileKind, kernel: &BootFile) -> String {
    let path = kernel;
    match kind {
        FileKind::Iso => format!("a CD boots by firmware: --firmware FILE --disk {path},readonly"),
        FileKind::Disk(_) | FileKind::RawDisk | FileKind::FileSystem(_) => {
            format!("a disk is given by --disk {path}, and a kernel beside it by --kernel")
        }
        FileKind::Rom => format!("firmware is given by --firmware {path}"),
        FileKind::Cpio => format!("an initrd is given by --initrd {path}, with a --kernel"),
        FileKind::Compressed(_) | FileKind::Tar | FileKind::Zip | FileKind::Ar => {
            "unpack it, and give the kernel that is inside".to_owned()
        }
        _ => "give an x86-64 Linux kernel: an ELF vmlinux or a bzImage".to_owned(),
    }
}

fn for_initrd(kind: Option<FileKind>) -> String {
    let advice = match kind {
        Some(FileKind::Disk(_) | FileKind::RawDisk | FileKind::Iso) => "a disk is given by --disk",
        Some(FileKind::BzImage) => "a kernel is given by --kernel",
        _ => "give a cpio archive, best an uncompressed one",
    };
    format!("{advice}; --initrd PATH,any takes it as it is")
}

fn for_firmware(kind: Option<FileKind>) -> String {
    match kind {
        Some(FileKind::Disk(_) | FileKind::RawDisk | FileKind::Iso) => {
            "a disk is given by --disk, and --firmware beside it boots from it".to_owned()
        }
        Some(FileKind::Elf | FileKind::BzImage | FileKind::Pe) => {
            "a kernel is given by --kernel".to_owned()
        }
        _ => "give a flat image, such as bios.bin of Debian's seabios".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_does_not_fit_asks_for_memory() {
        let error = |address| {
            LoadError::BzImage(BzImageError::OutsideRam {
                init_size: 0x280_0000,
                address,
                ram_end: 16 << 20,
            })
        };
        let advice = |error: &LoadError| of(error, &"k".into(), false);
        assert!(advice(&error(0x100_0000)).starts_with("--memory 64M"));
        assert!(advice(&error(0x1000_0000)).starts_with("--memory 512M"));
        assert!(!advice(&error(1 << 41)).contains("--memory"));
    }

    #[test]
    fn entry_auto_is_advised_only_where_another_was_given() {
        let advice = |chose| of(&LoadError::NoSetup, &"k".into(), chose);
        assert!(advice(true).contains("--entry auto"));
        assert!(!advice(false).contains("--entry"));
    }

    #[test]
    fn what_a_file_is_for_is_said_with_its_option() {
        let advice = |kind| {
            let error = LoadError::Kind(KindError::Other { kind });
            of(&error, &"d.img".into(), false)
        };
        assert!(advice(FileKind::Disk("qcow2")).contains("--disk d.img"));
        assert!(advice(FileKind::Iso).contains("--firmware"));
        assert!(advice(FileKind::Rom).contains("--firmware d.img"));
        assert!(advice(FileKind::Cpio).contains("--initrd d.img"));
    }
}
