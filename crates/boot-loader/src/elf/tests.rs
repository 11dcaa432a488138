//! Broken ELF files, one field at a time: each error names the field and its value.

use proptest::prelude::*;

use super::*;
use crate::testing::{DATA, TEXT, file_of, phdr, put, ram, vmlinux};

fn load_bytes(bytes: &[u8]) -> Result<ElfKernel, ElfError> {
    load(
        &ram(32),
        &mut Region::new(&file_of(bytes), 0, bytes.len() as u64),
    )
}

fn streamed(bytes: &[u8]) -> Result<ElfKernel, ElfError> {
    load(&ram(32), &mut ImageStream::new(bytes, bytes.len() as u64))
}

/// The error of the test kernel with `value` at `offset`.
fn broken(offset: usize, value: &[u8]) -> String {
    let mut elf = vmlinux();
    put(&mut elf, offset, value);
    load_bytes(&elf)
        .and_then(|kernel| kernel.entry().map(|_| ()))
        .unwrap_err()
        .to_string()
}

#[test]
fn each_broken_field_is_named_with_its_value() {
    let table: [(usize, &[u8], &str); 22] = [
        (0, b"\x7fELG", "EI_MAG = 0x474c457f"),
        (4, &[1], "this ELF is for x86-64 (e_machine = 62)"),
        (4, &[3], "EI_CLASS = 0x3"),
        (5, &[2], "EI_DATA = 0x2"),
        (6, &[0], "EI_VERSION = 0x0"),
        (16, &[1], "an object file or kernel module (e_type = 1)"),
        (16, &[3], "(e_type = 3)"),
        (16, &[4], "a core dump (e_type = 4)"),
        (16, &[9], "of an unknown type (e_type = 9)"),
        (18, &[183], "this ELF is for ARM aarch64 (e_machine = 183)"),
        (18, &[3], "32-bit x86 (e_machine = 3)"),
        (20, &[2], "e_version = 0x2"),
        (24, &[0, 0, 0, 0], "e_entry = 0x0 is not inside"),
        (32, &[8], "e_phoff = 0x8"),
        (32, &[0, 0, 1], "e_phoff = 0x10000"),
        (32, &[0xff; 8], "e_phoff = 0xffffffffffffffff"),
        (52, &[63], "e_ehsize = 0x3f"),
        (54, &[32], "e_phentsize = 0x20"),
        (56, &[0], "e_phnum = 0x0"),
        (56, &[0xff, 0xff], "e_phnum = 0xffff"),
        (24, &0x110_4000_u64.to_le_bytes(), "e_entry = 0x1104000"),
        (24, &(TEXT - 1).to_le_bytes(), "e_entry = 0xffffff"),
    ];
    for (offset, value, expected) in table {
        let message = broken(offset, value);
        assert!(message.contains(expected), "{message:?} lacks {expected:?}");
    }
}

#[test]
fn each_broken_program_header_is_named_with_its_value() {
    let (text, data) = (phdr(0), phdr(1));
    let table: [(usize, u64, &str); 11] = [
        (text + 8, 0x7000, "p_offset = 0x7000, p_filesz = 0x2000"),
        (text + 8, u64::MAX, "p_offset = 0xffffffffffffffff"),
        (
            text + 24,
            0x200_0000,
            "p_paddr = 0x2000000 with p_memsz = 0x2000 is outside guest RAM",
        ),
        (text + 24, u64::MAX - 1, "p_paddr = 0xfffffffffffffffe"),
        (
            text + 24,
            DATA + 0x8000,
            "program headers 1 and 0 overlap in memory (p_paddr = 0x1108000",
        ),
        (text + 24, DATA, "overlap"),
        (text + 32, u64::MAX, "p_filesz = 0xffffffffffffffff"),
        (
            text + 32,
            0x2001,
            "p_filesz = 0x2001: it is larger than p_memsz",
        ),
        (
            data + 40,
            0x2000,
            "p_filesz = 0x3000: it is larger than p_memsz",
        ),
        (data + 40, 1 << 40, "p_memsz = 0x10000000000"),
        (data + 40, u64::MAX, "p_memsz = 0xffffffffffffffff"),
    ];
    for (offset, value, expected) in table {
        let message = broken(offset, &value.to_le_bytes());
        assert!(message.contains(expected), "{message:?} lacks {expected:?}");
    }
}

#[test]
fn a_file_without_a_pt_load_is_refused() {
    let mut elf = vmlinux();
    put(&mut elf, phdr(0), &[6]);
    put(&mut elf, phdr(1), &[6]);

    let error = load_bytes(&elf).unwrap_err();

    assert!(
        error
            .to_string()
            .starts_with("none of the 3 program headers is a PT_LOAD")
    );
}

#[test]
fn a_truncated_file_tells_how_much_there_is() {
    let elf = vmlinux();

    let header = load_bytes(&elf[..40]).unwrap_err().to_string();
    let table = load_bytes(&elf[..100]).unwrap_err().to_string();
    let data = load_bytes(&elf[..0x6000]).unwrap_err().to_string();

    assert_eq!(
        header,
        "the ELF file is truncated: 40 of at least 52 bytes (the ELF header)"
    );
    assert!(
        table.contains("100 of at least 232 bytes (3 program headers"),
        "{table}"
    );
    assert!(
        data.contains("24576 of at least 28672 bytes (program header 1"),
        "{data}"
    );
}

#[test]
fn the_pvh_note_is_found_in_any_note_segment() {
    let mut elf = vmlinux();
    // A second, harmless note segment after the first, outside every PT_LOAD.
    put(&mut elf, 56, &[4]);
    let (note, other) = (phdr(2), phdr(3));
    elf.copy_within(note..note + 56, other);
    put(&mut elf, other + 8, &0x3800_u64.to_le_bytes());
    put(
        &mut elf,
        0x3800,
        &[4, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, b'G', b'N', b'U', 0],
    );

    assert_eq!(
        load_bytes(&elf).unwrap().pvh,
        Some((crate::testing::PVH, true))
    );
}

#[test]
fn a_pvh_note_that_points_nowhere_is_an_error_only_where_pvh_is_used() {
    let mut elf = vmlinux();
    put(&mut elf, 0x2810, &0x10_u64.to_le_bytes());

    let kernel = load_bytes(&elf).unwrap();

    assert_eq!(kernel.entry().unwrap(), TEXT);
    let message = kernel.entry_pvh().unwrap_err().to_string();
    assert!(
        message.starts_with("the PVH note's entry = 0x10 is not inside"),
        "{message}"
    );
}

#[test]
fn a_pvh_entry_that_was_not_used_is_told() {
    let other = crate::testing::other_elf();
    let table = [
        (vmlinux(), EntryChoice::Auto, true),
        (vmlinux(), EntryChoice::Pvh, false),
        (other.clone(), EntryChoice::Auto, false),
        (other, EntryChoice::Payload, true),
        (b"\x7fELF".to_vec(), EntryChoice::Auto, false),
    ];
    for (image, choice, expected) in table {
        assert_eq!(has_unused_pvh_entry(&file_of(&image), choice), expected);
    }
}

#[test]
fn a_stream_gives_the_same_kernel_as_a_file() {
    assert_eq!(
        streamed(&vmlinux()).unwrap(),
        load_bytes(&vmlinux()).unwrap()
    );
}

#[test]
fn a_stream_cannot_go_back() {
    let mut elf = vmlinux();
    put(&mut elf, phdr(1) + 8, &0x2000_u64.to_le_bytes());

    let message = streamed(&elf).unwrap_err().to_string();

    assert!(
        message.contains("program header 1: p_offset = 0x2000"),
        "{message}"
    );
    assert!(load_bytes(&elf).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Any bytes in the headers: no panic, and nothing outside the segments it claims.
    #[test]
    fn any_header_is_loaded_or_refused(
        offset in 0_usize..240,
        bytes in prop::collection::vec(any::<u8>(), 1..16),
    ) {
        let mut elf = vmlinux();
        put(&mut elf, offset, &bytes);
        for kernel in [load_bytes(&elf), streamed(&elf)].into_iter().flatten() {
            prop_assert!(kernel.end <= 32 << 20);
        }
    }
}
