use std::sync::atomic::AtomicU32;

use proptest::prelude::*;
use vmmkit_device_bus::{DevicePio, PioAddress, PortBus, SaveState, SavedState, StateError};

use super::*;
use crate::spec::command;
use crate::{ConfigPorts, ConfigSpace, Ecam, HostBridge, Identity};

/// A function with a base address that remembers what happened to it.
struct Probe {
    config: Mutex<ConfigSpace>,
    moves: Mutex<Vec<Option<u64>>>,
    written: Mutex<Vec<u64>>,
}

impl Probe {
    fn new(size: u64) -> Arc<Self> {
        let mut config = ConfigSpace::new(&Identity {
            vendor: 0x1234,
            device: 0x5678,
            ..Identity::default()
        });
        config.add_bar(0, size, false).unwrap();
        Arc::new(Self {
            config: Mutex::new(config),
            moves: Mutex::default(),
            written: Mutex::default(),
        })
    }

    fn moves(&self) -> Vec<Option<u64>> {
        std::mem::take(&mut self.moves.lock())
    }
}

impl PciFunction for Probe {
    fn name(&self) -> Arc<str> {
        "probe".into()
    }
    fn config(&self) -> &Mutex<ConfigSpace> {
        &self.config
    }
    fn read_bar(&self, bar: u8, offset: u64, data: &mut [u8]) {
        data.fill(bar + offset as u8);
    }
    fn write_bar(&self, _bar: u8, offset: u64, _data: &[u8]) {
        self.written.lock().push(offset);
    }
    fn moved(&self, _bar: u8, base: Option<u64>) {
        self.moves.lock().push(base);
    }
}

impl SaveState for Probe {
    fn save_state(&self) -> Result<SavedState, StateError> {
        Ok(SavedState::empty("probe"))
    }
    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        saved.read_empty("probe")
    }
}

impl Lifecycle for Probe {
    fn reset(&self) {
        self.config.lock().reset();
    }
}

struct Machine {
    ports: PortBus,
    memory: Arc<MmioBus>,
    bus: Arc<PciBus>,
    probes: [Arc<Probe>; 2],
}

/// A host bridge and two probes.
fn machine() -> Machine {
    let (ports, memory) = (PortBus::new(), Arc::new(MmioBus::new()));
    let layout = PciLayout::default();
    let bus = Arc::new(PciBus::new(&memory, layout));
    let probes = [Probe::new(0x1000), Probe::new(0x1_0000)];
    bus.plug(Arc::new(HostBridge::new())).unwrap();
    for (device, probe) in (1..).zip(&probes) {
        assert_eq!(bus.plug(probe.clone()).unwrap(), device);
    }
    let config_ports = Arc::new(ConfigPorts::new(bus.clone(), None));
    ports
        .plug(ConfigPorts::NAME, ConfigPorts::RANGE, config_ports)
        .unwrap();
    memory
        .plug(Ecam::NAME, layout.ecam, Arc::new(Ecam::new(bus.clone())))
        .unwrap();
    Machine {
        ports,
        memory,
        bus,
        probes,
    }
}

impl Machine {
    fn read(&self, device: u32, register: u32) -> u32 {
        let mut bytes = [0; 4];
        let address = 0x8000_0000 | device << 11 | register;
        self.ports.write(0xcf8, &address.to_le_bytes());
        self.ports.read(0xcfc, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn write(&self, device: u32, register: u32, value: u32) {
        let address = 0x8000_0000 | device << 11 | register;
        self.ports.write(0xcf8, &address.to_le_bytes());
        self.ports.write(0xcfc, &value.to_le_bytes());
    }

    fn ecam(&self, offset: u64, width: usize) -> Vec<u8> {
        let mut bytes = vec![0; width];
        self.memory.read(0xe000_0000 + offset, &mut bytes);
        bytes
    }
}

const MEMORY: u32 = command::MEMORY as u32;

#[test]
fn a_kernel_that_looks_for_mechanism_1_finds_it() {
    let machine = machine();
    machine.ports.write(0xcfb, &[1]);
    machine.ports.write(0xcf8, &0x8000_0000_u32.to_le_bytes());
    let mut address = [0; 4];
    machine.ports.read(0xcf8, &mut address);
    assert_eq!(u32::from_le_bytes(address), 0x8000_0000);
    assert_eq!(machine.read(0, 0), 0x0008_1b36);
    assert_eq!(machine.read(0, 8) >> 8, 0x06_0000);
    assert_eq!(machine.read(1, 0), 0x5678_1234);
    assert_eq!(machine.read(3, 0), u32::MAX, "no device");
    assert_eq!(machine.read(1 | 1 << 5, 0), u32::MAX, "no bus 1");
    assert_eq!(machine.read(1, 0x100), u32::MAX, "no function 1");
}

#[test]
fn data_ports_take_bytes_and_words() {
    let machine = machine();
    machine.read(1, 0);
    let mut byte = [0];
    machine.ports.read(0xcff, &mut byte);
    assert_eq!(byte, [0x56]);
    let mut word = [0; 2];
    machine.ports.read(0xcfe, &mut word);
    assert_eq!(word, [0x78, 0x56]);
    machine.read(1, 0x3c);
    machine.ports.write(0xcfc, &[11]);
    assert_eq!(machine.read(1, 0x3c), 11);
    machine.ports.write(0xcf8, &0x0000_0800_u32.to_le_bytes());
    machine.ports.read(0xcfc, &mut word);
    assert_eq!(word, [0xff; 2], "not enabled");
}

#[test]
fn ecam_shows_the_same_and_no_extended_capability() {
    let machine = machine();
    assert_eq!(machine.ecam(1 << 15, 4), [0x34, 0x12, 0x78, 0x56]);
    assert_eq!(machine.ecam((1 << 15) + 2, 1), [0x78]);
    assert_eq!(machine.ecam(1 << 15, 8)[..4], [0x34, 0x12, 0x78, 0x56]);
    assert_eq!(machine.ecam((1 << 15) + 0x100, 4), [0; 4]);
    assert_eq!(machine.ecam(0x9000, 4), [0xff; 4], "function 1");
    assert_eq!(machine.ecam(31 << 15, 4), [0xff; 4], "no device");
    machine.memory.write(0xe000_0000 + (1 << 15) + 0x3c, &[7]);
    assert_eq!(machine.read(1, 0x3c), 7);
}

#[test]
fn other_accesses_at_the_address_port_go_to_the_device_beside() {
    #[derive(Default)]
    struct Reset(AtomicU32);
    impl DevicePio for Reset {
        fn pio_read(&self, _: PioAddress, offset: u16, data: &mut [u8]) {
            data.fill(offset as u8);
        }
        fn pio_write(&self, base: PioAddress, offset: u16, data: &[u8]) {
            let port = u32::from(base.0 + offset);
            self.0
                .store(port << 8 | u32::from(data[0]), Ordering::Relaxed);
        }
    }
    let reset = Arc::new(Reset::default());
    let bus = machine().bus;
    let ports = PortBus::new();
    let config_ports = Arc::new(ConfigPorts::new(bus, Some(reset.clone())));
    ports
        .plug("pci", ConfigPorts::RANGE, config_ports.clone())
        .unwrap();
    ports.write(0xcf8, &0xffff_ffff_u32.to_le_bytes());
    assert_eq!(config_ports.state(), 0x80ff_fffc);
    assert_eq!(reset.0.load(Ordering::Relaxed), 0);
    ports.write(0xcf9, &[6]);
    assert_eq!(reset.0.load(Ordering::Relaxed), 0xcf9 << 8 | 6);
    let mut byte = [0xff];
    ports.read(0xcf9, &mut byte);
    assert_eq!(byte, [1]);
    config_ports.reset();
    assert_eq!(config_ports.state(), 0);
}

#[test]
fn base_addresses_are_placed_apart_and_plugged_when_memory_is_on() {
    let machine = machine();
    assert_eq!(machine.read(1, 0x10), 0xe800_0004);
    assert_eq!(
        machine.read(2, 0x10),
        0xe801_0004,
        "at a multiple of its size"
    );
    assert_eq!(machine.memory.regions().len(), 1);
    machine.write(1, 4, MEMORY);
    machine.write(2, 4, MEMORY);
    let mut bytes = [0; 2];
    machine.memory.read(0xe800_0007, &mut bytes);
    assert_eq!(bytes, [7, 7]);
    machine.memory.write(0xe801_0100, &[0]);
    assert_eq!(*machine.probes[1].written.lock(), [0x100]);
    assert_eq!(machine.probes[0].moves(), [Some(0xe800_0000)]);
}

#[test]
fn a_base_address_follows_the_guest() {
    let machine = machine();
    let probe = &machine.probes[0];
    machine.write(1, 4, MEMORY);
    machine.write(1, 0x10, 0xf123_4000);
    machine.write(1, 0x3c, 5);
    machine.write(1, 0x14, 1);
    machine.write(1, 4, 0);
    assert_eq!(
        probe.moves(),
        [
            Some(0xe800_0000),
            None,
            Some(0xf123_4000),
            None,
            Some(0x1_f123_4000),
            None
        ]
    );
    assert_eq!(machine.memory.regions().len(), 1);
    machine.write(1, 4, MEMORY);
    assert_eq!(machine.memory.regions().len(), 2);
    machine.bus.reset();
    assert_eq!(machine.memory.regions().len(), 1);
    assert_eq!(machine.read(1, 0x10), 0xe800_0004);
}

#[test]
fn what_is_owned_by_something_else_is_not_decoded() {
    let machine = machine();
    machine.write(1, 4, MEMORY);
    machine.write(1, 0x10, 0xe000_0000);
    assert_eq!(machine.bus.conflicts(), 1);
    assert_eq!(machine.ecam(0, 4), [0x36, 0x1b, 8, 0]);
    machine.write(1, 0x10, 0xf000_0000);
    assert_eq!(
        machine.probes[0].moves(),
        [Some(0xe800_0000), None, Some(0xf000_0000)]
    );
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let memory = Arc::new(MmioBus::new());
    let bus = PciBus::new(&memory, PciLayout::default());
    let error = bus.plug(Probe::new(256 << 20)).unwrap_err().to_string();
    assert!(
        error.starts_with("probe: base address 0 needs 0x10000000 bytes"),
        "{error}"
    );
    for _ in 0..32 {
        bus.plug(Probe::new(0x1000)).unwrap();
    }
    let error = bus.plug(Probe::new(0x1000)).unwrap_err();
    assert!(matches!(error, PciError::Full { .. }));
}

#[test]
fn a_machine_that_is_dropped_is_gone() {
    let machine = machine();
    machine.write(1, 4, MEMORY);
    let probe = Arc::downgrade(&machine.probes[0]);
    drop(machine);
    assert!(probe.upgrade().is_none());
}

proptest! {
    #[test]
    fn any_accesses_leave_every_base_address_where_its_registers_say(
        writes in prop::collection::vec((0..4_u32, 0..12_u32, any::<u32>()), 0..60),
    ) {
        let machine = machine();
        for (device, register, value) in writes {
            // Often where something else is.
            let value = if value & 3 == 0 { 0xe800_0000 } else { value };
            machine.write(device, register * 4, value);
        }
        let plugged = machine.memory.regions().len() as u64 - 1;
        let decoded = machine.probes.iter().map(|probe| {
            probe.config.lock().decoded().count() as u64
        });
        prop_assert!(plugged <= decoded.sum::<u64>());
        machine.bus.reset();
        prop_assert_eq!(machine.memory.regions().len(), 1);
    }
}
