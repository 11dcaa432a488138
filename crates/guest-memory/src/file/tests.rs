use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, memfd_create};

use super::*;
use crate::{RamConfig, RamSize};

const START: GuestAddress = GuestAddress(8 << 30);

fn file(size: u64) -> Arc<File> {
    let file = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
    file.set_len(size).unwrap();
    Arc::new(file)
}

fn region(file: Arc<File>) -> FileRegion {
    FileRegion {
        file,
        guest_address: START,
        slot: 2,
        shared: true,
    }
}

fn ram(mebibytes: u32) -> GuestRam {
    GuestRam::new(&RamConfig {
        size: RamSize::mebibytes(mebibytes),
        ..RamConfig::default()
    })
    .unwrap()
}

#[test]
fn what_a_guest_writes_is_in_the_file() {
    let file = file(4 << 20);
    file.write_all_at(b"before", 0).unwrap();
    let memory = GuestRam::map_file(&region(file.clone())).unwrap();
    assert_eq!(memory.read::<[u8; 6]>(START), Ok(*b"before"));
    memory
        .write_bytes(GuestAddress(START.0 + (4 << 20) - 5), b"after")
        .unwrap();
    let mut end = [0; 5];
    file.read_exact_at(&mut end, (4 << 20) - 5).unwrap();
    assert_eq!(&end, b"after");
    let region = memory.regions()[0];
    assert_eq!((region.slot, region.size), (2, 4 << 20));
    assert_eq!(region.host_address % ALIGNMENT, 0);
}

#[test]
fn what_is_not_shared_stays_out_of_the_file() {
    let file = file(2 << 20);
    let private = FileRegion {
        shared: false,
        ..region(file.clone())
    };
    let memory = GuestRam::map_file(&private).unwrap();
    memory.write(START, 7_u8).unwrap();
    assert_eq!(memory.read::<u8>(START), Ok(7));
    let mut first = [1];
    file.read_exact_at(&mut first, 0).unwrap();
    assert_eq!(first, [0]);
    // Another process would not see the same.
    assert!(memory.region_file(2).is_none());
    let shared = GuestRam::map_file(&region(file)).unwrap();
    assert_eq!(shared.region_file(2).unwrap().1, 0);
}

#[test]
fn nothing_but_the_file_is_there() {
    let memory = GuestRam::map_file(&region(file(2 << 20))).unwrap();
    for address in [0, 0x1000, 4 << 30, START.0 - 1, START.0 + (2 << 20)] {
        assert!(memory.read::<u8>(GuestAddress(address)).is_err());
    }
    assert!(
        memory
            .read_bytes(GuestAddress(START.0 + 1), &mut vec![0; 2 << 20])
            .is_err()
    );
    assert!(memory.window(START, 2 << 20).is_ok());
}

#[test]
fn zeroes_and_discards_keep_the_pages_of_a_file() {
    let file = file(2 << 20);
    let memory = GuestRam::map_file(&region(file.clone())).unwrap();
    let all = ram(16).joined(&memory).unwrap();
    file.write_all_at(&[1; 1 << 20], 0).unwrap();
    assert_eq!(all.discard(START, 1 << 20), Ok(0));
    assert_eq!(all.read::<u8>(START), Ok(1));
    all.fill(START, 1 << 20, 0).unwrap();
    assert_eq!(memory.read::<u8>(START), Ok(0));
}

#[test]
fn joined_to_ram_both_answer() {
    for mebibytes in [16, 3074] {
        let ram = ram(mebibytes);
        let memory = GuestRam::map_file(&region(file(2 << 20))).unwrap();
        let all = ram.joined(&memory).unwrap();
        all.write(GuestAddress(0x1000), 1_u8).unwrap();
        all.write(START, 2_u8).unwrap();
        assert_eq!(ram.read::<u8>(GuestAddress(0x1000)), Ok(1));
        assert_eq!(memory.read::<u8>(START), Ok(2));
        assert!(ram.read::<u8>(START).is_err());
        assert_eq!(all.regions().len(), ram.regions().len() + 1);
        assert!(all.contains(START, 2 << 20));
        let end = ram.regions().last().unwrap();
        let end = end.guest_address.0 + end.size;
        assert!(all.read::<u8>(GuestAddress(end)).is_err());
        assert!(all.read_bytes(GuestAddress(end), &mut []).is_ok() || mebibytes > 3072);
    }
}

#[test]
fn a_file_right_above_ram_is_found_from_its_first_byte() {
    let ram = ram(3074);
    let place = FileRegion {
        guest_address: GuestAddress((4 << 30) + (2 << 20)),
        ..region(file(2 << 20))
    };
    let all = ram.joined(&GuestRam::map_file(&place).unwrap()).unwrap();
    all.write(place.guest_address, 3_u8).unwrap();
    let last = GuestAddress(place.guest_address.0 - 1);
    assert_eq!(all.read::<u8>(last), Ok(0));
    assert!(all.read::<u16>(last).is_err());
}

#[test]
fn what_is_taken_is_refused() {
    let ram = ram(16);
    let memory = GuestRam::map_file(&region(file(2 << 20))).unwrap();
    let all = ram.joined(&memory).unwrap();
    let again = all.joined(&memory).unwrap_err();
    assert_eq!(
        again.to_string(),
        "0x200000 bytes at 0x200000000 in slot 2: the address or the slot is taken"
    );
    let other_slot = FileRegion {
        slot: 3,
        ..region(file(2 << 20))
    };
    assert!(
        all.joined(&GuestRam::map_file(&other_slot).unwrap())
            .is_err()
    );
    assert!(ram.joined(&ram.clone()).is_err());
}

#[test]
fn sizes_and_places_that_cannot_be_say_what_can() {
    let refused = |region| GuestRam::map_file(&region).unwrap_err().to_string();
    assert_eq!(
        refused(region(file(5 << 20))),
        "5242880 bytes is not a multiple of 2 MiB: extend it with truncate -s 6291456"
    );
    assert!(refused(region(file(0))).starts_with("the file is empty"));
    for address in [0, 2 << 20, (4 << 30) + 4096, u64::MAX - (2 << 20) + 1] {
        let place = FileRegion {
            guest_address: GuestAddress(address),
            ..region(file(2 << 20))
        };
        assert!(
            refused(place).starts_with("it cannot be at"),
            "{address:#x}"
        );
    }
    let directory = Arc::new(File::open("/").unwrap());
    assert_eq!(refused(region(directory)), "it is not a regular file");
}
