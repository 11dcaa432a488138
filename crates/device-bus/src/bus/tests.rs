use proptest::prelude::*;

use super::*;
use crate::{DeviceMmio, DevicePio, MmioAddress, MmioAddressOffset, PioAddress, PioAddressOffset};

/// Reads give the low byte of each address in the device's range plus its mark; it logs all.
struct Probe {
    mark: u8,
    log: Mutex<Vec<(u64, u64, usize)>>,
}

fn probe(mark: u8) -> Arc<Probe> {
    Arc::new(Probe {
        mark,
        log: Mutex::default(),
    })
}

impl Probe {
    fn record(&self, base: u64, offset: u64, length: usize) {
        self.log.lock().push((base, offset, length));
    }

    fn answer(&self, offset: u64, data: &mut [u8]) {
        for (step, byte) in (0..).zip(data) {
            *byte = self.mark.wrapping_add(offset as u8).wrapping_add(step);
        }
    }

    fn log(&self) -> Vec<(u64, u64, usize)> {
        self.log.lock().clone()
    }
}

impl DevicePio for Probe {
    fn pio_read(&self, base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        self.record(base.0.into(), offset.into(), data.len());
        self.answer(offset.into(), data);
    }

    fn pio_write(&self, base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        self.record(base.0.into(), offset.into(), data.len());
    }
}

impl DeviceMmio for Probe {
    fn mmio_read(&self, base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        self.record(base.0, offset, data.len());
        self.answer(offset, data);
    }

    fn mmio_write(&self, base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        self.record(base.0, offset, data.len());
    }
}

fn read<const N: usize>(bus: &PortBus, port: u64) -> [u8; N] {
    let mut data = [0; N];
    bus.read(port, &mut data);
    data
}

#[test]
fn a_device_is_told_its_base_the_offset_and_the_width() {
    let bus = PortBus::new();
    let device = probe(0);
    bus.plug("com1", AddressRange::new(0x3f8, 8), device.clone())
        .unwrap();
    bus.write(0x3fb, &[1, 2]);
    assert_eq!(read(&bus, 0x3f8), [0, 1, 2, 3]);
    assert_eq!(device.log(), [(0x3f8, 3, 2), (0x3f8, 0, 4)]);
}

#[test]
fn unclaimed_reads_are_ones_and_all_is_counted() {
    let bus = PortBus::new();
    assert_eq!(read(&bus, 0x80), [0xff; 4]);
    bus.write(0x81, &[0]);
    bus.write(0x80, &[0]);
    let expected = Unclaimed {
        reads: 1,
        writes: 2,
        addresses: vec![0x80, 0x81],
    };
    assert_eq!(bus.unclaimed(), expected);
}

#[test]
fn a_conflict_names_both_owners_and_both_ranges() {
    let bus = PortBus::new();
    bus.plug("com1", AddressRange::new(0x3f8, 8), probe(0))
        .unwrap();
    let error = bus
        .plug("floppy", AddressRange::new(0x3f0, 9), probe(0))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "floppy cannot be plugged at 0x3f0-0x3f8: com1 owns 0x3f8-0x3ff"
    );
}

#[test]
fn an_empty_range_is_refused() {
    let error = MmioBus::new()
        .plug("none", AddressRange::new(16, 0), probe(0))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "none cannot be plugged at 0x10: its range is empty"
    );
}

#[test]
fn ports_end_at_64_k() {
    let bus = PortBus::new();
    bus.plug("last", AddressRange::new(0xffff, 1), probe(0))
        .unwrap();
    let error = bus
        .plug("past", AddressRange::new(0xfff0, 17), probe(0))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "past cannot be plugged at 0xfff0: its 0x11 ports end past 0xffff, the last"
    );
    assert!(
        bus.plug("far", AddressRange::new(0x1_0000, 1), probe(0))
            .is_err()
    );
}

#[test]
fn a_range_that_wraps_is_refused() {
    let bus = MmioBus::new();
    let range = AddressRange::new(u64::MAX - 1, 3);
    assert!(matches!(
        bus.plug("wrap", range, probe(0)),
        Err(PlugError::PastEnd { .. })
    ));
    bus.plug("top", AddressRange::new(u64::MAX - 1, 2), probe(0))
        .unwrap();
}

#[test]
fn plugging_several_is_all_or_nothing() {
    let bus = PortBus::new();
    let plugs = vec![
        Plug::<Ports>::new("a", AddressRange::new(0, 4), probe(0)),
        Plug::<Ports>::new("b", AddressRange::new(3, 4), probe(0)),
    ];
    assert!(matches!(
        bus.plug_all(plugs),
        Err(PlugError::Conflict { .. })
    ));
    assert!(bus.regions().is_empty());
}

#[test]
fn regions_are_listed_lowest_first_until_unplugged() {
    let bus = PortBus::new();
    bus.plug("rtc", AddressRange::new(0x70, 2), probe(0))
        .unwrap();
    bus.plug("pit", AddressRange::new(0x40, 4), probe(0))
        .unwrap();
    let names = || {
        bus.regions()
            .iter()
            .map(|it| it.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(), ["pit", "rtc"]);
    assert_eq!(&*bus.unplug(0x40).unwrap().name, "pit");
    assert!(bus.unplug(0x71).is_none(), "only a base unplugs");
    assert_eq!(names(), ["rtc"]);
}

#[test]
fn an_access_across_the_end_of_a_range_is_split() {
    let bus = PortBus::new();
    let low = probe(0x10);
    let high = probe(0x20);
    bus.plug("low", AddressRange::new(0x100, 2), low.clone())
        .unwrap();
    bus.plug("high", AddressRange::new(0x103, 4), high.clone())
        .unwrap();
    assert_eq!(read(&bus, 0x101), [0x11, 0xff, 0x20, 0x21]);
    bus.write(0x0ff, &[0; 2]);
    assert_eq!(low.log(), [(0x100, 1, 1), (0x100, 0, 1)]);
    assert_eq!(high.log(), [(0x103, 0, 2)]);
    let expected = Unclaimed {
        reads: 1,
        writes: 1,
        addresses: vec![0x102, 0x0ff],
    };
    assert_eq!(bus.unclaimed(), expected);
}

#[test]
fn nothing_wraps_past_the_last_port() {
    let bus = PortBus::new();
    bus.plug("first", AddressRange::new(0, 1), probe(0x40))
        .unwrap();
    bus.plug("last", AddressRange::new(0xffff, 1), probe(0x50))
        .unwrap();
    assert_eq!(read(&bus, 0xffff), [0x50, 0xff]);
}

#[test]
fn nothing_wraps_past_the_last_address() {
    let bus = MmioBus::new();
    bus.plug("first", AddressRange::new(0, 8), probe(0x40))
        .unwrap();
    let mut data = [0; 4];
    bus.read(u64::MAX - 1, &mut data);
    assert_eq!(data, [0xff; 4]);
}

#[test]
fn an_access_of_no_bytes_reaches_no_device() {
    let bus = PortBus::new();
    let device = probe(0);
    bus.plug("it", AddressRange::new(0, 8), device.clone())
        .unwrap();
    bus.read(0, &mut []);
    bus.write(0, &[]);
    assert!(device.log().is_empty());
    assert_eq!(bus.unclaimed(), Unclaimed::default());
}

#[test]
fn a_view_sees_what_is_plugged_and_unplugged_later() {
    let bus = Arc::new(PortBus::new());
    let mut view = bus.view();
    bus.plug("it", AddressRange::new(0x60, 1), probe(7))
        .unwrap();
    let mut byte = [0];
    view.read(0x60, &mut byte);
    assert_eq!(byte, [7]);
    bus.unplug(0x60);
    view.read(0x60, &mut byte);
    assert_eq!(byte, [0xff]);
}

#[test]
fn string_accesses_stay_at_their_port() {
    let bus = Arc::new(PortBus::new());
    let device = probe(0);
    bus.plug("ide", AddressRange::new(0x1f0, 8), device.clone())
        .unwrap();
    let mut view = bus.view();
    view.write_string(0x1f0, 2, &[0; 6]);
    let mut data = [0xee; 8];
    view.read_string(0x1f1, 4, &mut data);
    assert_eq!(data, [1, 2, 3, 4, 1, 2, 3, 4]);
    let write = (0x1f0, 0, 2);
    let read = (0x1f0, 1, 4);
    assert_eq!(device.log(), [write, write, write, read, read]);
}

#[test]
fn a_string_of_width_0_or_with_a_rest_is_still_answered() {
    let bus = Arc::new(PortBus::new());
    let device = probe(0);
    bus.plug("it", AddressRange::new(0, 8), device.clone())
        .unwrap();
    bus.view().write_string(0, 0, &[0; 2]);
    bus.view().write_string(0, 2, &[0; 3]);
    assert_eq!(device.log(), [(0, 0, 1), (0, 0, 1), (0, 0, 2), (0, 0, 1)]);
}

#[test]
fn a_device_may_unplug_itself_from_within_an_access() {
    struct Ejector(Mutex<Option<Arc<PortBus>>>);
    impl DevicePio for Ejector {
        fn pio_read(&self, _: PioAddress, _: PioAddressOffset, _: &mut [u8]) {}
        fn pio_write(&self, base: PioAddress, _: PioAddressOffset, _: &[u8]) {
            if let Some(bus) = self.0.lock().take() {
                bus.unplug(base.0.into());
            }
        }
    }
    let bus = Arc::new(PortBus::new());
    let device = Arc::new(Ejector(Mutex::new(Some(bus.clone()))));
    bus.plug("ejector", AddressRange::new(0xae08, 4), device)
        .unwrap();
    bus.view().write(0xae08, &[1]);
    assert!(bus.regions().is_empty());
}

#[test]
fn threads_read_while_devices_come_and_go() {
    let bus = Arc::new(MmioBus::new());
    bus.plug("fixed", AddressRange::new(0x1000, 0x1000), probe(3))
        .unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let mut view = bus.view();
            scope.spawn(move || {
                for _ in 0..20_000 {
                    let mut data = [0; 2];
                    view.read(0x1000, &mut data);
                    assert_eq!(data, [3, 4]);
                    view.read(0x3000, &mut data);
                    assert!(data == [9, 10] || data == [0xff; 2]);
                }
            });
        }
        for _ in 0..2_000 {
            bus.plug("guest", AddressRange::new(0x3000, 16), probe(9))
                .unwrap();
            bus.unplug(0x3000).unwrap();
        }
    });
}

/// One step of the comparison with a model.
#[derive(Clone, Debug)]
enum Step {
    Plug { base: u64, length: u64, mark: u8 },
    Unplug { base: u64 },
    Read { address: u64, length: usize },
    Write { address: u64, length: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let near_end = prop_oneof![0_u64..64, 0xfff0_u64..0x1_0008];
    let plug = (near_end.clone(), 0_u64..20, any::<u8>());
    let step = prop_oneof![
        plug.prop_map(|(base, length, mark)| Step::Plug { base, length, mark }),
        near_end.clone().prop_map(|base| Step::Unplug { base }),
        (near_end.clone(), 0_usize..9).prop_map(|(address, length)| Step::Read { address, length }),
        (near_end, 0_usize..9).prop_map(|(address, length)| Step::Write { address, length }),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    /// The model knows, for each address by itself, who owns it.
    #[test]
    fn the_bus_agrees_with_a_linear_model(steps in steps()) {
        let bus = Arc::new(PortBus::new());
        let mut view = bus.view();
        let mut model: Vec<(AddressRange, u8)> = Vec::new();
        for step in steps {
            match step {
                Step::Plug { base, length, mark } => {
                    let range = AddressRange::new(base, length);
                    let free = length > 0
                        && base + length <= 0x1_0000
                        && (base..base + length)
                            .all(|it| !model.iter().any(|(range, _)| range.contains(it)));
                    let plugged = bus.plug("probe", range, probe(mark));
                    prop_assert_eq!(plugged.is_ok(), free);
                    if free {
                        model.push((range, mark));
                    }
                }
                Step::Unplug { base } => {
                    let index = model.iter().position(|(range, _)| range.base == base);
                    prop_assert_eq!(bus.unplug(base).is_some(), index.is_some());
                    index.map(|index| model.remove(index));
                }
                Step::Read { address, length } => {
                    let expected: Vec<u8> = (address..address + length as u64)
                        .map(|it| {
                            let owner = model.iter().find(|(range, _)| range.contains(it));
                            owner.map_or(0xff, |(range, mark)| {
                                mark.wrapping_add((it - range.base) as u8)
                            })
                        })
                        .collect();
                    let mut through_bus = vec![0xaa; length];
                    bus.read(address, &mut through_bus);
                    prop_assert_eq!(&through_bus, &expected);
                    let mut through_view = vec![0xaa; length];
                    view.read(address, &mut through_view);
                    prop_assert_eq!(&through_view, &expected);
                }
                Step::Write { address, length } => {
                    let owned = |it| model.iter().any(|(range, _)| range.contains(it));
                    let addresses = address..address + length as u64;
                    // A gap is counted once, where it begins.
                    let gaps = addresses
                        .filter(|&it| !owned(it) && (it == address || owned(it - 1)))
                        .count() as u64;
                    let before = bus.unclaimed().writes;
                    view.write(address, &vec![0; length]);
                    prop_assert_eq!(bus.unclaimed().writes - before, gaps);
                }
            }
        }
    }
}
