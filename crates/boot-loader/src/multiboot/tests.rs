//! Headers and information of both versions, and hostile ones.

use proptest::prelude::*;
use vmmkit_guest_memory::GuestAddress;

use super::*;
use crate::Placed;
use crate::little_endian::u32_at;
use crate::memory_map::{BOOT_INFO, e820};
use crate::region::Region;
use crate::testing::{file_of, multiboot_1, multiboot_2, put, ram};

fn load(bytes: &[u8]) -> Result<Option<Flat>, MultibootError> {
    let found = find(bytes).unwrap();
    let file = file_of(bytes);
    load_flat(&ram(4), &Region::new(&file, 0, bytes.len() as u64), &found)
}

#[test]
fn headers_are_found_at_their_alignment_and_with_a_right_checksum() {
    let one = multiboot_1(&[0x90]);
    let two = multiboot_2(&[0x90]);
    assert_eq!(find(&one).unwrap().version, Version::One);
    assert_eq!(find(&two).unwrap().version, Version::Two);

    let mut wrong = one.clone();
    wrong[8] ^= 1;
    assert_eq!(find(&wrong), None);
    let late = [vec![0; 8 << 10], one.clone()].concat();
    assert_eq!(find(&late), None);
    let odd = [&[0; 2][..], &one].concat();
    assert_eq!(find(&odd), None);
    let mut arch = two.clone();
    put(&mut arch, 4, &4_u32.to_le_bytes());
    assert_eq!(find(&arch), None);
    assert_eq!(find(&[two, one].concat()).unwrap().version, Version::Two);
}

#[test]
fn a_flat_kernel_goes_where_its_header_says() {
    for image in [multiboot_1(&[0x90; 5]), multiboot_2(&[0x90; 5])] {
        let flat = load(&image).unwrap().unwrap();
        assert_eq!(flat.start, 0x10_0000);
        assert_eq!(flat.placed, image.len() as u64);
        assert_eq!(flat.end, 0x10_0000 + 0x2000);
        assert_eq!(flat.entry, 0x10_0000 + image.len() as u64 - 5);
    }
}

#[test]
fn each_broken_address_is_named_with_its_value() {
    let table: [(usize, u32, &str); 7] = [
        (
            12,
            0x10_0004,
            "load_addr = 0x100000 in the Multiboot header",
        ),
        (16, 0x10_0004, "load_addr = 0x100004"),
        (20, 0xf_ffff, "load_end_addr = 0xfffff"),
        (20, 0x20_0000, "load_end_addr = 0x200000"),
        (24, 0x10_0001, "bss_end_addr = 0x100001"),
        (
            24,
            0xffff_ffff,
            "bytes at load_addr = 0x100000, and guest RAM ends at 0x400000",
        ),
        (28, 0x10, "entry_addr = 0x10"),
    ];
    for (offset, value, expected) in table {
        let mut image = multiboot_1(&[0x90; 5]);
        put(&mut image, offset, &value.to_le_bytes());
        let message = load(&image).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} lacks {expected:?}");
    }
}

#[test]
fn what_is_required_and_not_known_is_told_and_what_is_optional_is_not() {
    let mut one = multiboot_1(&[0x90]);
    let flags = 0x1_0028_u32;
    put(&mut one, 4, &flags.to_le_bytes());
    let sum = 0x1bad_b002_u32.wrapping_add(flags).wrapping_neg();
    put(&mut one, 8, &sum.to_le_bytes());
    assert_eq!(find(&one).unwrap().lacks, Some(("flag", 3)));

    let mut two = multiboot_2(&[0x90]);
    put(&mut two, 16, &99_u16.to_le_bytes());
    assert_eq!(find(&two).unwrap().lacks, Some(("tag", 99)));
    put(&mut two, 18, &1_u16.to_le_bytes());
    assert_eq!(find(&two).unwrap().lacks, None);
}

#[test]
fn the_information_has_cmdline_modules_and_map() {
    let ram = ram(16);
    let map = e820(&ram);
    let module = Module {
        placed: Placed {
            start: GuestAddress(0x20_0000),
            size: 9,
        },
        text: "module a=b".to_owned(),
    };
    let told = Told {
        cmdline: "kernel x",
        modules: &[module],
        e820: &map,
        rsdp: Some(GuestAddress(0xe_0000)),
        kernel: 0x10_0000,
    };
    let text = |at: u32| {
        let mut bytes = [0; 10];
        ram.read_bytes(GuestAddress(at.into()), &mut bytes).unwrap();
        bytes
    };
    let word = |at: u64| ram.read::<u32>(GuestAddress(at)).unwrap();

    write(&ram, Version::One, &told).unwrap();

    let info = BOOT_INFO.0;
    assert_eq!(
        [word(info), word(info + 4), word(info + 8)],
        [0x24d, 639, 15 << 10]
    );
    assert_eq!(&text(word(info + 16))[..9], b"kernel x\0");
    assert_eq!(word(info + 20), 1);
    let modules = u64::from(word(info + 24));
    assert_eq!([word(modules), word(modules + 4)], [0x20_0000, 0x20_0009]);
    assert_eq!(&text(word(modules + 8)), b"module a=b");
    assert_eq!(word(info + 44), 24 * map.len() as u32);
    assert_eq!(word(u64::from(word(info + 48))), 20);

    let size = write(&ram, Version::Two, &told).unwrap();

    let mut bytes = vec![0; size as usize];
    ram.read_bytes(BOOT_INFO, &mut bytes).unwrap();
    assert_eq!(u32_at(&bytes, 0), Some(size as u32));
    let (mut at, mut kinds) = (8, Vec::new());
    while at < bytes.len() {
        kinds.push(u32_at(&bytes, at).unwrap());
        at += (u32_at(&bytes, at + 4).unwrap() as usize).next_multiple_of(8);
    }
    assert_eq!(kinds, [1, 2, 3, 4, 6, 15, 21, 0]);
    assert_eq!(&bytes[16..25], b"kernel x\0");
}

#[test]
fn what_cannot_all_be_told_is_refused() {
    let ram = ram(16);
    let told = Told {
        cmdline: &"x".repeat(200_000),
        modules: &[],
        e820: &[],
        rsdp: None,
        kernel: 0,
    };
    for version in [Version::One, Version::Two] {
        let error = write(&ram, version, &told).unwrap_err();
        assert!(matches!(error, MultibootError::TooMuchToTell { .. }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// Any bytes in a header: no panic, and nothing outside RAM.
    #[test]
    fn any_header_is_loaded_or_refused(
        offset in 0_usize..64,
        bytes in prop::collection::vec(any::<u8>(), 1..16),
        is_second in any::<bool>(),
    ) {
        let mut image = if is_second { multiboot_2(&[0; 64]) } else { multiboot_1(&[0; 64]) };
        put(&mut image, offset, &bytes);
        let Some(found) = find(&image) else { return Ok(()) };
        let file = file_of(&image);
        let region = Region::new(&file, 0, image.len() as u64);
        if let Ok(Some(flat)) = load_flat(&ram(4), &region, &found) {
            prop_assert!(flat.start <= flat.entry && flat.entry < flat.end);
            prop_assert!(flat.end <= 4 << 20);
        }
    }
}
