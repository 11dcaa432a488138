//! Whole loads: of each format, by each entry, and of real kernels where there are some.

use std::fs::File;
use std::path::PathBuf;

use linux_loader::bootparam::boot_params;

use super::*;
use crate::memory_map::ZERO_PAGE;
use crate::testing::{
    COMPRESSIONS, DATA, DATA_FILE, DATA_MEMORY, PVH, TEXT, bzimage, file_of, noise, ram, vmlinux,
};

fn try_load(ram: &GuestRam, image: &[u8], entry: EntryChoice) -> Result<Loaded, LoadError> {
    let kernel = &mut file_of(image);
    let source = BootSource {
        kernel,
        initrd: None,
        cmdline: "quiet",
        entry,
    };
    load(
        ram,
        source,
        &Platform {
            apic_ids: &[0],
            acpi: None,
            mp_table: false,
        },
    )
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
    crate::testing::put(
        &mut image,
        crate::testing::CODE + crate::testing::PAYLOAD,
        &lzo,
    );

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
    let source = BootSource {
        kernel: &mut file_of(&image),
        initrd: Some(&mut file_of(&noise(10_000))),
        cmdline: "",
        entry: EntryChoice::Auto,
    };

    let loaded = load(
        &ram,
        source,
        &Platform {
            apic_ids: &[0],
            acpi: None,
            mp_table: false,
        },
    )
    .unwrap();

    let initrd = loaded.initrd.unwrap();
    assert!(initrd.start >= loaded.kernel.end);
    assert_eq!(initrd.start.0 % 4096, 0);
    let params: boot_params = ram.read(ZERO_PAGE).unwrap();
    assert_eq!(u64::from(params.hdr.ramdisk_image), initrd.start.0);
    assert_eq!({ params.hdr.ramdisk_size }, 10_000);
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
                kernel: &mut File::open(&path).unwrap(),
                initrd: None,
                cmdline: "console=ttyS0",
                entry,
            };
            let platform = Platform {
                apic_ids: &[0],
                acpi: None,
                mp_table: false,
            };
            match load(&ram, source, &platform) {
                Ok(loaded) => println!("{}: {:#x?}", path.display(), loaded.kernel),
                Err(error) if entry != EntryChoice::Auto => {
                    println!("{}: {entry:?}: {error}", path.display());
                }
                Err(error) => panic!("{}: {error:?}", path.display()),
            }
        }
    }
}
