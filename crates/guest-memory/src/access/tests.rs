use proptest::prelude::*;

use super::*;
use crate::{Backing, RamConfig, RamSize};

fn ram(mebibytes: u32) -> GuestRam {
    let size = RamSize::mebibytes(mebibytes);
    GuestRam::new(&RamConfig {
        size,
        ..RamConfig::default()
    })
    .unwrap()
}

#[test]
fn values_are_little_endian_bytes_at_any_address() {
    let ram = ram(1);
    ram.write(GuestAddress(0x1003), 0x1122_3344_5566_7788_u64)
        .unwrap();
    assert_eq!(ram.read::<u8>(GuestAddress(0x1003)), Ok(0x88));
    assert_eq!(ram.read::<u16>(GuestAddress(0x1004)), Ok(0x6677));
    assert_eq!(ram.read::<u32>(GuestAddress(0x1007)), Ok(0x1122_3344));
    assert_eq!(
        ram.read::<[u8; 3]>(GuestAddress(0x1003)),
        Ok([0x88, 0x77, 0x66])
    );
}

#[test]
fn an_access_ends_where_ram_ends() {
    let ram = ram(1);
    let end = 1 << 20;
    assert_eq!(ram.read::<u64>(GuestAddress(end - 8)), Ok(0));
    let error = ram.read::<u64>(GuestAddress(end - 7)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "8 bytes at 0xffff9 are not all guest RAM"
    );
    assert!(ram.write(GuestAddress(end), 1_u8).is_err());
    assert!(ram.write_bytes(GuestAddress(end), &[]).is_ok());
    assert!(ram.write_bytes(GuestAddress(end + 1), &[]).is_err());
    assert!(ram.read::<u64>(GuestAddress(u64::MAX - 3)).is_err());
    assert!(ram.fill(GuestAddress(8), usize::MAX, 0).is_err());
}

#[test]
fn the_mmio_hole_is_not_ram() {
    let ram = ram(3073);
    assert!(ram.write(MMIO_END_MINUS_8, 1_u64).is_err());
    assert!(ram.read::<u8>(GuestAddress(3 << 30)).is_err());
    assert!(ram.write(GuestAddress((3 << 30) - 4), 1_u64).is_err());
    ram.write(GuestAddress((3 << 30) - 8), 1_u64).unwrap();
    ram.write(GuestAddress(4 << 30), 2_u64).unwrap();
    assert_eq!(ram.read::<u64>(GuestAddress((3 << 30) - 8)), Ok(1));
    assert_eq!(ram.read::<u64>(GuestAddress(4 << 30)), Ok(2));
    assert!(ram.read::<u8>(GuestAddress((4 << 30) + (1 << 20))).is_err());
}

const MMIO_END_MINUS_8: GuestAddress = GuestAddress((4 << 30) - 8);

#[test]
fn an_exchange_happens_only_from_the_expected_value() {
    let ram = ram(1);
    let cell = GuestAddress(0x2000);
    assert_eq!(ram.compare_exchange_u64(cell, 0, 5), Ok(Ok(0)));
    assert_eq!(ram.compare_exchange_u64(cell, 0, 6), Ok(Err(5)));
    assert_eq!(ram.read::<u64>(cell), Ok(5));
    assert!(
        ram.compare_exchange_u64(GuestAddress(0x2004), 0, 1)
            .is_err()
    );
}

#[test]
fn zeroing_a_large_range_spares_what_is_beside_it() {
    for backing in [Backing::Anonymous, Backing::Memfd] {
        let size = RamSize::mebibytes(1);
        let ram = GuestRam::new(&RamConfig {
            size,
            backing,
            ..RamConfig::default()
        })
        .unwrap();
        ram.fill(GuestAddress(0), 1 << 20, 0xaa).unwrap();
        ram.fill(GuestAddress(0x1001), 0x8_0000, 0).unwrap();
        let mut bytes = vec![1; 1 << 20];
        ram.read_bytes(GuestAddress(0), &mut bytes).unwrap();
        assert!(bytes[..0x1001].iter().all(|&byte| byte == 0xaa));
        assert!(bytes[0x1001..0x8_1001].iter().all(|&byte| byte == 0));
        assert!(bytes[0x8_1001..].iter().all(|&byte| byte == 0xaa));
    }
}

#[test]
fn the_host_sees_the_same_bytes() {
    let ram = ram(1);
    ram.write(GuestAddress(0x3000), 0x1234_u16).unwrap();
    let host_address = ram.host_address(GuestAddress(0x3000), 2).unwrap();
    // SAFETY: `host_address` checked that 2 bytes of `ram`, which lives until the end of this
    // function, are there; 0x3000 is aligned for u16, and no other thread has this RAM.
    let value = unsafe { (host_address as *const u16).read_volatile() };
    assert_eq!(value, 0x1234);
    assert!(ram.host_address(GuestAddress((1 << 20) - 1), 2).is_err());
}

/// One step of the comparison with a model.
#[derive(Clone, Debug)]
enum Step {
    Write(u64, Vec<u8>),
    Fill(u64, usize, u8),
    Read(u64, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let address = prop_oneof![0_u64..64, 0_u64..1 << 20, (1_u64 << 20) - 32..(1 << 20) + 8];
    let length = prop_oneof![0_usize..20, 0_usize..0x2_0000];
    let step = prop_oneof![
        (
            address.clone(),
            proptest::collection::vec(any::<u8>(), 0..20)
        )
            .prop_map(|(address, bytes)| Step::Write(address, bytes)),
        (address.clone(), length, prop_oneof![Just(0), any::<u8>()])
            .prop_map(|(address, length, byte)| Step::Fill(address, length, byte)),
        (address, 0_usize..20).prop_map(|(address, length)| Step::Read(address, length)),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #[test]
    fn ram_is_an_array_of_bytes(steps in steps()) {
        let ram = ram(1);
        let mut model = vec![0_u8; 1 << 20];
        for step in steps {
            match step {
                Step::Write(address, bytes) => {
                    let there = model.get_mut(address as usize..address as usize + bytes.len());
                    let inside = ram.contains(GuestAddress(address), bytes.len() as u64);
                    prop_assert_eq!(there.is_some(), inside);
                    prop_assert_eq!(ram.write_bytes(GuestAddress(address), &bytes).is_ok(), inside);
                    if let Some(there) = there {
 there.copy_from_slice(&bytes);
}
                }
                Step::Fill(address, length, byte) => {
                    let there = model.get_mut(address as usize..address as usize + length);
                    let filled = ram.fill(GuestAddress(address), length, byte);
                    prop_assert_eq!(filled.is_ok(), there.is_some());
                    if let Some(there) = there {
 there.fill(byte);
}
                }
                Step::Read(address, length) => {
                    let there = model.get(address as usize..address as usize + length);
                    let mut bytes = vec![0; length];
                    let read = ram.read_bytes(GuestAddress(address), &mut bytes);
                    prop_assert_eq!(read.ok().map(|()| &bytes[..]), there);
                }
            }
        }
        let mut all = vec![1; 1 << 20];
        ram.read_bytes(GuestAddress(0), &mut all).unwrap();
        prop_assert!(all == model);
    }
}
