//! Whole loads: of each format, by each entry, and of real kernels where there are some.

use std::fs::File;
use std::path::PathBuf;

use linux_loader::bootparam::boot_params;

use super::*;
use crate::memory_map::{BOOT_INFO, E820Kind, PVH_START_INFO, ZERO_PAGE};
use crate::payload::Compression;
use crate::smbios::{Processors, Smbios};
use crate::testing::{
    CODE, COMPRESSIONS, DATA, DATA_FILE, DATA_MEMORY, LOW_TEXT, PAYLOAD, PVH, TEXT, bzimage,
    elf_32, file_of, multiboot_1, multiboot_2, noise, note, other_elf, phdr, put, ram, uki,
    vmlinux,
};
use crate::{BootModule, EntryChoice};

fn try_load(ram: &GuestRam, image: &[u8], entry: EntryChoice) -> Result<Loaded, LoadError> {
    try_load_with(ram, image, entry, None, &[])
}

const PLATFORM: Platform<'static> = Platform::of(&[0]);

fn try_load_with(
    ram: &GuestRam,
    image: &[u8],
    entry: EntryChoice,
    initrd: Option<&[u8]>,
    modules: &[BootModule],
) -> Result<Loaded, LoadError> {
    let initrd = initrd.map(file_of);
    let source = BootSource {
        kernel: &file_of(image),
        initrd: initrd.as_ref(),
        any_initrd: false,
        modules,
        cmdline: "quiet",
        entry,
    };
    load(ram, source, &PLATFORM)
}

fn assert_kernel_is_placed(ram: &GuestRam) {
    let mut text = vec![0; 0x1000];
    ram.read_bytes(GuestAddress(TEXT), &mut text).unwrap();
    assert!(text == noise(0x1000));
    let mut data = vec![0; DATA_FILE as usize];
    ram.read_bytes(GuestAddress(DATA), &mut data).unwrap();
    assert!(data == noise(DATA_FILE as usize));
}

#[test]
fn an_elf_is_placed_and_entered_in_long_mode() {
    let ram = ram(32);

    let loaded = try_load(&ram, &vmlinux(), EntryChoice::Auto).unwrap();

    assert_kernel_is_placed(&ram);
    assert_eq!(loaded.entry.address(), GuestAddress(TEXT));
    assert_eq!(loaded.kernel.entry, EntryKind::Linux64);
    assert_eq!(loaded.kernel.end, GuestAddress(DATA + DATA_MEMORY));
    assert_eq!(loaded.kernel.placed_bytes, 0x2000 + DATA_FILE);
    let params: boot_params = ram.read(ZERO_PAGE).unwrap();
    assert_eq!({ params.hdr.cmd_line_ptr }, 0x2_0000);
}

#[test]
fn bss_is_zeroed_over_what_an_earlier_boot_left() {
    let ram = ram(32);
    ram.write_bytes(GuestAddress(DATA), &[0xee; DATA_MEMORY as usize + 1])
        .unwrap();

    try_load(&ram, &vmlinux(), EntryChoice::Auto).unwrap();

    let mut bss = vec![1; (DATA_MEMORY - DATA_FILE) as usize + 1];
    ram.read_bytes(GuestAddress(DATA + DATA_FILE), &mut bss)
        .unwrap();
    assert_eq!(bss.pop(), Some(0xee));
    assert!(bss.iter().all(|byte| *byte == 0));
}

#[test]
fn pvh_is_chosen_on_demand_and_where_e_entry_is_no_physical_address() {
    let chosen = try_load(&ram(32), &vmlinux(), EntryChoice::Pvh).unwrap();
    let mut virtual_entry = vmlinux();
    virtual_entry[24..32].copy_from_slice(&0xffff_ffff_8100_0000_u64.to_le_bytes());
    let automatic = try_load(&ram(32), &virtual_entry, EntryChoice::Auto).unwrap();

    for loaded in [chosen, automatic] {
        assert_eq!(
            loaded.entry,
            Entry::Pvh {
                address: GuestAddress(PVH)
            }
        );
        assert_eq!(loaded.kernel.entry, EntryKind::Pvh);
    }
}

#[test]
fn the_payload_of_each_compression_is_placed() {
    for compression in COMPRESSIONS.into_iter().chain([Compression::None]) {
        let ram = ram(32);

        let loaded = try_load(&ram, &bzimage(compression, &vmlinux()), EntryChoice::Auto)
            .unwrap_or_else(|error| panic!("{compression}: {error:?}"));

        assert_kernel_is_placed(&ram);
        assert_eq!(loaded.kernel.compression, Some(compression));
        assert_eq!(loaded.kernel.entry, EntryKind::Linux64);
        assert_eq!(loaded.kernel.protocol, Some((2, 15)));
        assert_eq!(loaded.kernel.fallback, None);
        assert_eq!(
            loaded.kernel.version.as_deref(),
            Some("6.1.0-test (someone@somewhere) #1 SMP")
        );
        assert_eq!(loaded.kernel.end, GuestAddress(TEXT + 0x20_0000));
    }
}

#[test]
fn an_unknown_payload_falls_back_to_the_kernels_own_decompressor_and_says_so() {
    let mut image = bzimage(Compression::Gzip, &vmlinux());
    let lzo = [0x89, b'L', b'Z', b'O', 0, 0x0d, 0x0a, 0x1a];
    put(&mut image, CODE + PAYLOAD, &lzo);

    let loaded = try_load(&ram(32), &image, EntryChoice::Auto).unwrap();
    let demanded = try_load(&ram(32), &image, EntryChoice::Payload).unwrap_err();

    assert_eq!(loaded.kernel.entry, EntryKind::Setup);
    assert_eq!(loaded.entry.address(), GuestAddress(TEXT + 0x200));
    assert_eq!(
        loaded.kernel.fallback,
        Some(Fallback::UnknownPayload(lzo.to_vec()))
    );
    assert!(
        demanded.to_string().contains("89, 4c, 5a, 4f"),
        "{demanded}"
    );
}

#[test]
fn the_initrd_lies_beyond_init_size() {
    let ram = ram(32);
    let image = bzimage(Compression::Zstd, &vmlinux());
    let cpio = [b"070701".to_vec(), noise(9_994)].concat();

    let loaded = try_load_with(&ram, &image, EntryChoice::Auto, Some(&cpio), &[]).unwrap();

    let initrd = loaded.initrd.unwrap();
    assert!(initrd.start >= loaded.kernel.end);
    assert_eq!(initrd.start.0 % 4096, 0);
    let params: boot_params = ram.read(ZERO_PAGE).unwrap();
    assert_eq!(u64::from(params.hdr.ramdisk_image), initrd.start.0);
    assert_eq!({ params.hdr.ramdisk_size }, 10_000);
}

#[test]
fn an_elf_that_is_not_linux_is_entered_by_pvh_and_by_linux_on_demand() {
    let auto = try_load(&ram(32), &other_elf(), EntryChoice::Auto).unwrap();
    let payload = try_load(&ram(32), &other_elf(), EntryChoice::Payload).unwrap();

    assert_eq!(auto.kernel.entry, EntryKind::Pvh);
    assert_eq!(auto.entry.address(), GuestAddress(PVH));
    assert_eq!(payload.kernel.entry, EntryKind::Linux64);
}

#[test]
fn a_32_bit_elf_is_entered_by_what_it_names() {
    let pvh = note(b"Xen\0", 18, LOW_TEXT + 1);
    let linux = note(b"Linux\0", 0x100, 0);
    let none = note(b"GNU\0", 3, 0);
    let code = [0x90; 16];
    let table = [
        (elf_32(&code, &pvh), EntryKind::Pvh, LOW_TEXT + 1),
        (elf_32(&code, &linux), EntryKind::Linux32, LOW_TEXT),
    ];
    for (image, kind, address) in table {
        let loaded = try_load(&ram(32), &image, EntryChoice::Auto).unwrap();
        assert_eq!(loaded.kernel.entry, kind);
        assert_eq!(loaded.entry.address().0, u64::from(address));
    }
    let error = try_load(&ram(32), &elf_32(&code, &none), EntryChoice::Auto).unwrap_err();
    assert!(
        error.to_string().starts_with("this is a 32-bit ELF"),
        "{error}"
    );
    // A file cannot say both: its headers are 32-bit or 64-bit.
    let mut wrong = elf_32(&code, &pvh);
    put(&mut wrong, 18, &62_u16.to_le_bytes());
    let error = try_load(&ram(32), &wrong, EntryChoice::Auto).unwrap_err();
    assert!(error.to_string().contains("for x86-64"), "{error}");
}

#[test]
fn multiboot_is_found_in_an_elf_of_either_class_and_in_a_flat_file() {
    // A header without addresses: flags 3.
    let sum = 0x1bad_b002_u32.wrapping_add(3).wrapping_neg();
    let header: Vec<u8> = [0x1bad_b002, 3, sum]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect();
    let mut wide = other_elf();
    put(&mut wide, 0x280c, b"Zen\0");
    put(&mut wide, 0x1000, &header);
    let none = note(b"GNU\0", 3, 0);
    let table = [
        (wide, EntryKind::Multiboot1, TEXT),
        (
            elf_32(&header, &none),
            EntryKind::Multiboot1,
            LOW_TEXT.into(),
        ),
        (multiboot_1(&[0x90; 4]), EntryKind::Multiboot1, 0x10_0020),
        (multiboot_2(&[0x90; 4]), EntryKind::Multiboot2, 0x10_0058),
    ];
    for (image, kind, address) in table {
        for choice in [EntryChoice::Auto, EntryChoice::Multiboot] {
            let loaded = try_load(&ram(32), &image, choice).unwrap();
            assert_eq!(loaded.kernel.entry, kind);
            assert_eq!(loaded.entry.address(), GuestAddress(address));
        }
    }
    let error = try_load(&ram(32), &vmlinux(), EntryChoice::Multiboot).unwrap_err();
    assert!(matches!(error, LoadError::NoMultiboot));
}

#[test]
fn modules_go_to_kernels_that_take_them() {
    let module = |text: &str| BootModule {
        file: file_of(text.as_bytes()),
        name: text.to_owned(),
        arguments: "a=b".to_owned(),
    };
    let modules = [module("one"), module("two")];
    let memory = ram(32);
    let word = |at: u64| memory.read::<u32>(GuestAddress(at)).unwrap();
    let load =
        |image: &[u8]| try_load_with(&memory, image, EntryChoice::Auto, Some(b"any"), &modules);

    let flat = load(&multiboot_1(&[0x90; 4])).unwrap();
    // Behind the kernel, in their order, the initrd first.
    let starts: Vec<u64> = flat
        .initrd
        .iter()
        .chain(&flat.modules)
        .map(|m| m.start.0)
        .collect();
    assert_eq!(starts, [0x10_2000, 0x10_3000, 0x10_4000]);
    assert_eq!(word(BOOT_INFO.0 + 20), 3);
    // The end of low memory as a BIOS tells it.
    assert_eq!(word(0x40e) & 0xffff, 0x9fc0);
    assert_eq!(word(0x413) & 0xffff, 639);

    let pvh = load(&other_elf()).unwrap();
    assert_eq!(pvh.modules.len(), 2);
    assert!(pvh.modules[1].start < pvh.modules[0].start);
    assert_eq!(word(PVH_START_INFO.0 + 12), 3);

    let error = try_load_with(&memory, &vmlinux(), EntryChoice::Auto, None, &modules);
    assert!(matches!(error, Err(LoadError::ModulesNotTaken)));
    let empty = try_load_with(
        &memory,
        &other_elf(),
        EntryChoice::Auto,
        None,
        &[module("")],
    );
    assert!(matches!(empty, Err(LoadError::Module { index: 0, .. })));
}

#[test]
fn a_kernel_may_lie_where_low_memory_is_free() {
    let at = |address: u64| {
        let mut elf = vmlinux();
        put(&mut elf, phdr(0) + 24, &address.to_le_bytes());
        put(&mut elf, 24, &address.to_le_bytes());
        try_load(&ram(32), &elf, EntryChoice::Auto)
    };
    for free in [0xf_f000, 0x1000, 0x4_0000, 0x9_0000] {
        assert!(at(free).is_ok(), "{free:#x}: {:?}", at(free));
    }
    for (used, what) in [
        (0, "the GDT"),
        (0x6000, "the zero page"),
        (0x8ff0 - 1, "the stack"),
        (0x9000, "the page tables"),
        (0x1_f000, "the command line"),
    ] {
        let message = at(used).unwrap_err().to_string();
        assert!(message.contains(what), "{message:?} lacks {what:?}");
    }
}

#[test]
fn smbios_tables_are_where_a_kernel_looks_for_them() {
    let memory = ram(32);
    let processors = Processors::new(1, 1, 1);
    let tables = SmbiosTables::new(&Smbios::default(), processors, &memory).unwrap();
    let mut platform = Platform::of(&[0]);
    platform.smbios = Some(&tables);
    let kernel = file_of(&vmlinux());
    let loaded = load(&memory, BootSource::new(&kernel, ""), &platform).unwrap();
    let mut entry = [0; 24];
    memory.read_bytes(SMBIOS_ENTRY, &mut entry).unwrap();
    assert_eq!(entry, tables.entry_point(SMBIOS_STRUCTURES.0));
    let mut structures = vec![0; tables.structures().len()];
    memory
        .read_bytes(SMBIOS_STRUCTURES, &mut structures)
        .unwrap();
    assert_eq!(structures, tables.structures());
    let reserved = |entry: &&E820Entry| entry.start == SMBIOS_STRUCTURES;
    let reserved = loaded.e820.iter().find(reserved).unwrap();
    assert_eq!(reserved.kind, E820Kind::Reserved);
    // A kernel that lies there is refused.
    let mut elf = vmlinux();
    put(&mut elf, phdr(0) + 24, &0xf_f000_u64.to_le_bytes());
    put(&mut elf, 24, &0xf_f000_u64.to_le_bytes());
    let kernel = file_of(&elf);
    let error = load(&memory, BootSource::new(&kernel, ""), &platform).unwrap_err();
    assert!(error.to_string().contains("the SMBIOS tables"), "{error}");
}

#[test]
fn a_kernel_without_a_64_bit_entry_is_entered_in_32_bit_mode() {
    let mut image = bzimage(Compression::Gzip, &vmlinux());
    put(&mut image, 0x214, &0x10_0000_u32.to_le_bytes());
    put(&mut image, 0x236, &0_u16.to_le_bytes()); // xloadflags

    let loaded = try_load(&ram(32), &image, EntryChoice::Setup).unwrap();

    assert_eq!(loaded.kernel.entry, EntryKind::Setup32);
    let address = GuestAddress(TEXT);
    assert_eq!(loaded.entry, Entry::Linux32 { address });

    // Protocol 2.03: to 1 MiB, whatever syssize says.
    put(&mut image, 0x206, &0x203_u16.to_le_bytes());
    put(&mut image, 0x1f4, &[0; 4]);
    let loaded = try_load(&ram(32), &image, EntryChoice::Auto).unwrap();
    assert_eq!(loaded.entry.address(), GuestAddress(0x10_0000));
    assert_eq!(loaded.cmdline_limit, 255);
    assert_eq!(loaded.kernel.placed_bytes, (image.len() - CODE) as u64);

    for (offset, value) in [(0x214, &[0; 4][..]), (0x500, b"MEMDISK 6.04\0")] {
        let mut image = image.clone();
        put(&mut image, offset, value);
        let error = try_load(&ram(32), &image, EntryChoice::Auto).unwrap_err();
        assert!(error.to_string().contains("needs a BIOS"), "{error}");
    }
}

#[test]
fn a_unified_kernel_image_is_loaded_with_its_initrd_unless_another_is_given() {
    let kernel = bzimage(Compression::Zstd, &vmlinux());
    let image = uki(&[
        (b".initrd\0", b"070701 of the image"),
        (b".linux\0\0", &kernel),
    ]);
    let memory = ram(32);
    let own = try_load(&memory, &image, EntryChoice::Auto).unwrap();
    assert_kernel_is_placed(&memory);
    assert_eq!(own.kernel.format, KernelFormat::Unified);
    assert_eq!(own.initrd.unwrap().size, 19);

    let given = Some(&b"070701"[..]);
    let other = try_load_with(&memory, &image, EntryChoice::Auto, given, &[]).unwrap();
    assert_eq!(other.initrd.unwrap().size, 6);

    let nested = uki(&[(b".linux\0\0", &image)]);
    let error = try_load(&memory, &nested, EntryChoice::Auto).unwrap_err();
    assert!(matches!(error, LoadError::UkiKernel));
}

#[test]
fn what_linux_would_not_take_as_an_initrd_is_refused_unless_asked_for() {
    let kernel = file_of(&vmlinux());
    let initrd = file_of(b"QFI\xfb");
    let try_with = |any_initrd| {
        let source = BootSource {
            kernel: &kernel,
            initrd: Some(&initrd),
            any_initrd,
            modules: &[],
            cmdline: "",
            entry: EntryChoice::Auto,
        };
        load(&ram(32), source, &PLATFORM)
    };
    assert!(matches!(try_with(false), Err(LoadError::Initrd(_))));
    assert!(try_with(true).is_ok());
}

/// Real kernels: every file in the directory that VMMKIT_TEST_KERNELS names.
#[test]
fn real_kernels_load() {
    let Some(directory) = std::env::var_os("VMMKIT_TEST_KERNELS").map(PathBuf::from) else {
        println!("SKIPPED: VMMKIT_TEST_KERNELS names no directory of kernels");
        return;
    };
    for file in std::fs::read_dir(&directory).unwrap() {
        let path = file.unwrap().path();
        for entry in [EntryChoice::Auto, EntryChoice::Setup, EntryChoice::Pvh] {
            let ram = ram(512);
            let source = BootSource {
                kernel: &File::open(&path).unwrap(),
                initrd: None,
                any_initrd: false,
                modules: &[],
                cmdline: "console=ttyS0",
                entry,
            };
            match load(&ram, source, &PLATFORM) {
                Ok(loaded) => println!("{}: {:#x?}", path.display(), loaded.kernel),
                Err(error) if entry != EntryChoice::Auto => {
                    println!("{}: {entry:?}: {error}", path.display());
                }
                Err(error) => panic!("{}: {error:?}", path.display()),
            }
        }
    }
}
