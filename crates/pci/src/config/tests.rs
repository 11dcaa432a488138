use proptest::prelude::*;

use super::*;
use crate::spec::capability;

fn space() -> ConfigSpace {
    let mut space = ConfigSpace::new(&Identity {
        vendor: 0x1af4,
        device: 0x1042,
        revision: 1,
        class: [1, 2, 3],
        subsystem_vendor: 0x1af4,
        subsystem: 0x40,
    });
    space.add_bar(0, 0x1_0000, false).unwrap();
    space.add_bar(4, 1 << 33, true).unwrap();
    space.place_bar(0, 0xe800_0000);
    space.place_bar(4, 1 << 40);
    space
}

fn read(space: &ConfigSpace, register: usize) -> u32 {
    let mut bytes = [0; 4];
    space.read(register, &mut bytes);
    u32::from_le_bytes(bytes)
}

fn write(space: &mut ConfigSpace, register: usize, value: u32) {
    space.write(register, &value.to_le_bytes());
}

#[test]
fn the_header_says_who_it_is_6_1() {
    let space = space();
    assert_eq!(read(&space, 0), 0x1042_1af4);
    assert_eq!(read(&space, 8), 0x0102_0301);
    assert_eq!(read(&space, 0xc), 0, "type 0, one function");
    assert_eq!(read(&space, 0x2c), 0x0040_1af4);
    assert_eq!(read(&space, 0x3c), 0, "no interrupt pin");
}

#[test]
fn ones_in_a_base_address_show_its_size_6_2_5_1() {
    let mut space = space();
    assert_eq!(read(&space, 0x10), 0xe800_0004);
    for register in [0x10, 0x14, 0x18, 0x20, 0x24] {
        write(&mut space, register, u32::MAX);
    }
    assert_eq!(read(&space, 0x10), 0xffff_0004);
    assert_eq!(read(&space, 0x14), 0xffff_ffff);
    assert_eq!(read(&space, 0x18), 0, "no such base address");
    assert_eq!(read(&space, 0x20), 0x0000_000c, "prefetchable, of 8 GiB");
    assert_eq!(read(&space, 0x24), 0xffff_fffe);
}

#[test]
fn base_addresses_are_decoded_when_memory_is_on_6_2_2() {
    let mut space = space();
    assert_eq!(space.decoded().count(), 0);
    write(&mut space, 4, u32::from(command::MEMORY));
    let all: Vec<_> = space.decoded().collect();
    assert_eq!(
        all,
        [
            (0, AddressRange::new(0xe800_0000, 0x1_0000)),
            (4, AddressRange::new(1 << 40, 1 << 33))
        ]
    );
    write(&mut space, 0x10, 0xe900_1234);
    assert_eq!(space.decoded().next().unwrap().1.base, 0xe900_0000);
    write(&mut space, 0x10, 0);
    assert_eq!(space.decoded().count(), 1, "address 0 is nowhere");
    space.reset();
    assert_eq!(read(&space, 0x10), 0xe800_0004);
    assert_eq!(space.decoded().count(), 0);
}

#[test]
fn capabilities_are_a_list_6_7() {
    let mut space = space();
    assert_eq!(read(&space, 4) >> 16, 0);
    let first = space
        .add_capability(capability::VENDOR, &[5, 1, 2], &[])
        .unwrap();
    let second = space
        .add_capability(capability::MSIX, &[0xff, 0xff], &[0, 0xc0])
        .unwrap();
    assert_eq!((first, second), (0x40, 0x48));
    assert_eq!(read(&space, 4) >> 16, 0x10);
    assert_eq!(read(&space, 0x34), 0x40);
    assert_eq!(read(&space, 0x40).to_le_bytes(), [9, 0x48, 5, 1]);
    assert_eq!(read(&space, 0x48).to_le_bytes(), [0x11, 0, 0xff, 0xff]);
    write(&mut space, 0x48, 0);
    assert_eq!(read(&space, 0x48).to_le_bytes(), [0x11, 0, 0xff, 0x3f]);
}

#[test]
fn what_has_no_room_is_refused() {
    let mut space = space();
    for (index, size) in [(0, 0x1000), (1, 0x1000), (6, 0x1000), (2, 0x1001), (2, 8)] {
        assert!(space.add_bar(index, size, false).is_err(), "{index} {size}");
    }
    let error = space.add_capability(9, &[0; 191], &[]).unwrap_err();
    assert_eq!(error.to_string(), "no room for capability 0x9 of 193 bytes");
    space.add_capability(9, &[0; 190], &[]).unwrap();
    assert!(space.add_capability(9, &[], &[]).is_err());
}

#[test]
fn a_saved_space_goes_on_elsewhere() {
    let mut before = space();
    write(&mut before, 4, u32::MAX);
    write(&mut before, 0x10, 0xf000_0000);
    let mut after = space();
    after.restore("net0", &before.save()).unwrap();
    assert_eq!(after.bytes, before.bytes);
    // What no guest could have written is not believed.
    assert!(after.restore("net0", &[0xff; 300]).is_err());
    let mut saved = before.save();
    saved[2] ^= 1;
    let error = after.restore("net0", &saved).unwrap_err();
    assert_eq!(
        error.to_string(),
        "net0: [0x02] 0x43: this machine has 0x42, of which 0x00 can change"
    );
    assert_eq!(read(&after, 0), 0x1042_1af4);
}

proptest! {
    #[test]
    fn only_what_is_writable_ever_changes(
        writes in prop::collection::vec((0..300_usize, any::<u32>(), 1..5_usize), 0..40),
    ) {
        let mut space = space();
        let before = space.bytes;
        for (register, value, width) in writes {
            space.write(register, &value.to_le_bytes()[..width]);
        }
        for (place, byte) in space.bytes.iter().enumerate() {
            prop_assert_eq!((byte ^ before[place]) & !space.writable[place], 0, "at {:#x}", place);
        }
        for (bar, range) in space.decoded() {
            prop_assert!(range.last().is_some() && range.base % range.length == 0, "{bar}");
        }
    }
}
