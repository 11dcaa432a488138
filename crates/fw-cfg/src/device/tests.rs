use std::sync::Arc;

use proptest::prelude::*;
use vmmkit_device_bus::{AddressRange, PortBus, SaveState, check_golden};
use vmmkit_guest_memory::{GuestAddress, RamConfig, RamSize};

use super::*;
use crate::spec::{CONTROL_ERROR, CONTROL_READ, CONTROL_SELECT, CONTROL_SKIP, CONTROL_WRITE};

/// RAM in bytes.
const RAM: u64 = 1 << 20;
const REQUEST: u64 = 0x1000;
const TARGET: u64 = 0x2000;
/// The only file's item.
const FILE: u32 = 0x20;

fn ram() -> GuestRam {
    let size = RamSize::mebibytes(1);
    GuestRam::new(&RamConfig {
        size,
        ..RamConfig::default()
    })
    .unwrap()
}

/// A device with the file "file" of `contents`, on a bus.
fn device(ram: &GuestRam, contents: &[u8]) -> (PortBus, Arc<FwCfg>) {
    let mut items = Items::new().with_cpus(3, 8);
    items.add_file("file", contents).unwrap();
    let device = Arc::new(FwCfg::new(items, ram));
    let bus = PortBus::new();
    let range = AddressRange::new(FwCfg::PORT.into(), FwCfg::LENGTH.into());
    bus.plug(FwCfg::NAME, range, device.clone()).unwrap();
    (bus, device)
}

fn select(bus: &PortBus, item: u16) {
    bus.write(SELECTOR.into(), &item.to_le_bytes());
}

fn read(bus: &PortBus, count: usize) -> Vec<u8> {
    let mut bytes = vec![0xcc; count];
    for byte in &mut bytes {
        bus.read(DATA.into(), std::slice::from_mut(byte));
    }
    bytes
}

/// Asks for a transfer to TARGET, and returns the control word after it.
fn transfer(bus: &PortBus, ram: &GuestRam, control: u32, length: u32, target: u64) -> u32 {
    let mut request = control.to_be_bytes().to_vec();
    request.extend(length.to_be_bytes());
    request.extend(target.to_be_bytes());
    ram.write_bytes(GuestAddress(REQUEST), &request).unwrap();
    bus.write(DMA.into(), &0_u32.to_be_bytes());
    bus.write(u64::from(DMA) + 4, &(REQUEST as u32).to_be_bytes());
    let mut control = [0; 4];
    ram.read_bytes(GuestAddress(REQUEST), &mut control).unwrap();
    u32::from_be_bytes(control)
}

fn bytes(ram: &GuestRam, at: u64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    ram.read_bytes(GuestAddress(at), &mut bytes).unwrap();
    bytes
}

#[test]
fn an_item_is_read_byte_by_byte_and_then_zeroes() {
    let ram = ram();
    let (bus, device) = device(&ram, b"abc");
    select(&bus, 0);
    assert_eq!(read(&bus, 5), b"QEMU\0");
    select(&bus, 1);
    assert_eq!(read(&bus, 4), [3, 0, 0, 0], "selector and DMA");
    select(&bus, 5);
    assert_eq!(read(&bus, 2), [3, 0]);
    select(&bus, 0x0f);
    assert_eq!(read(&bus, 2), [8, 0]);
    // The bit for a write says nothing of the item.
    select(&bus, FILE as u16 | 0x4000);
    assert_eq!(read(&bus, 4), b"abc\0");
    select(&bus, 0x3000);
    assert_eq!(read(&bus, 2), [0, 0], "no such item");
    select(&bus, FILE as u16);
    device.reset();
    assert_eq!(read(&bus, 4), b"QEMU", "a reset selects item 0");
}

#[test]
fn the_dma_register_has_a_signature() {
    let ram = ram();
    let (bus, _) = device(&ram, b"abc");
    let mut halves = [[0; 4]; 2];
    bus.read(DMA.into(), &mut halves[0]);
    bus.read(u64::from(DMA) + 4, &mut halves[1]);
    assert_eq!(halves.as_flattened(), DMA_SIGNATURE);
}

#[test]
fn a_request_copies_skips_and_fills_with_zeroes() {
    let ram = ram();
    let (bus, _) = device(&ram, b"abcdef");
    ram.fill(GuestAddress(TARGET), 16, 0xff).unwrap();
    let select = FILE << 16 | CONTROL_SELECT;

    assert_eq!(transfer(&bus, &ram, select | CONTROL_SKIP, 2, 0), 0);
    assert_eq!(transfer(&bus, &ram, CONTROL_READ, 3, TARGET), 0);
    assert_eq!(bytes(&ram, TARGET, 4), b"cde\xff");
    assert_eq!(transfer(&bus, &ram, CONTROL_READ, 3, TARGET), 0);
    assert_eq!(bytes(&ram, TARGET, 4), b"f\0\0\xff", "beyond the end");
    // Port and DMA go on from one offset.
    assert_eq!(transfer(&bus, &ram, select | CONTROL_READ, 1, TARGET), 0);
    assert_eq!(read(&bus, 1), b"b");
}

#[test]
fn what_cannot_be_done_is_an_error_and_changes_no_memory() {
    let ram = ram();
    let (bus, _) = device(&ram, b"abcdef");
    let select = FILE << 16 | CONTROL_SELECT;
    let refused = [
        (CONTROL_WRITE, 3, TARGET),
        (CONTROL_READ, 8, RAM - 3),
        (CONTROL_READ, 8, RAM),
        (CONTROL_READ, u32::MAX, TARGET),
        (CONTROL_READ, 8, u64::MAX - 2),
    ];
    for (control, length, target) in refused {
        let done = transfer(&bus, &ram, select | control, length, target);
        assert_eq!(done, CONTROL_ERROR, "{control:#x} {length} {target:#x}");
    }
    // A request that is nowhere is nobody's.
    for address in [RAM - 15, RAM, u64::MAX] {
        bus.write(DMA.into(), &((address >> 32) as u32).to_be_bytes());
        bus.write(u64::from(DMA) + 4, &(address as u32).to_be_bytes());
    }
    assert_eq!(bytes(&ram, RAM - 3, 3), [0; 3]);
}

#[test]
fn the_saved_form_is_as_it_was() {
    let ram = ram();
    let (bus, first) = device(&ram, b"abcdef");
    select(&bus, FILE as u16);
    read(&bus, 2);
    bus.write(DMA.into(), &7_u32.to_be_bytes());
    let saved = first.save_state().unwrap();
    check_golden(&*first, include_str!("../../goldens/fw-cfg.v1.json")).unwrap();

    let (bus, second) = device(&ram, b"abcdef");
    second.restore_state(&saved).unwrap();
    assert_eq!(read(&bus, 1), b"c");
}

proptest! {
    /// No access panics or writes beyond RAM, and each is as a model of one item says.
    #[test]
    fn any_accesses_are_answered(
        steps in prop::collection::vec((0_u64..14, 1_usize..9, any::<[u8; 8]>(), any::<bool>()), 1..64)
    ) {
        let ram = ram();
        let (bus, device) = device(&ram, &[7; 100]);
        for (offset, width, data, is_write) in steps {
            let port = u64::from(SELECTOR) + offset;
            let mut data = data;
            if is_write {
                bus.write(port, &data[..width]);
            } else {
                bus.read(port, &mut data[..width]);
            }
        }
        select(&bus, FILE as u16);
        prop_assert_eq!(read(&bus, 101), [&[7; 100][..], &[0]].concat());
        device.restore_state(&device.save_state().unwrap()).unwrap();
    }
}
