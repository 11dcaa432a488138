//! Bytes become accesses of a PCI bus with a virtio device: configuration spaces by ports and by
//! memory, base addresses wherever the guest put them, doorbells, MSI-X, and what is saved.
//!
//! One operation is 8 bytes: what (modulo 8), a width, an offset (2, little-endian), a value (4).

use std::sync::{Arc, Mutex};

use vmmkit_device_bus::{Lifecycle, MessageVector, MmioBus, PortBus, SaveState};
use vmmkit_guest_memory::{GuestRam, RamConfig, RamSize};
use vmmkit_host_io::EventFd;
use vmmkit_pci::{ConfigPorts, Ecam, HostBridge, PciBus, PciLayout};
use vmmkit_virtio::{
    ActivateError, Activation, Active, Device, DeviceKind, Doorbells, PciTransport,
};

/// A device that never works: what its queues do is not this target's.
struct Idle;

impl Device for Idle {
    fn kind(&self) -> DeviceKind {
        DeviceKind::BLOCK
    }
    fn queue_sizes(&self) -> &[u16] {
        &[256, 64]
    }
    fn activate(&self, _activation: Activation) -> Result<Box<dyn Active>, ActivateError> {
        Err(ActivateError::MissingQueue(0))
    }
}

/// What is attached: each address once, and no more than there are queues.
#[derive(Default)]
struct Attached(Mutex<Vec<u64>>);

impl Doorbells for Attached {
    fn attach(&self, _kick: &EventFd, address: u64) {
        let mut attached = self.0.lock().unwrap();
        assert!(!attached.contains(&address));
        attached.push(address);
        assert!(attached.len() <= Idle.queue_sizes().len());
    }
    fn detach(&self, _kick: &EventFd, address: u64) {
        let mut attached = self.0.lock().unwrap();
        let place = attached.iter().position(|known| *known == address);
        attached.remove(place.expect("it was attached"));
    }
}

const ECAM: u64 = 0xe000_0000;

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let ram = GuestRam::new(&RamConfig {
        size: RamSize::mebibytes(1),
        ..RamConfig::default()
    })
    .expect("RAM");
    let (ports, memory) = (PortBus::new(), Arc::new(MmioBus::new()));
    let bus = Arc::new(PciBus::new(&memory, PciLayout::default()));
    let attached = Arc::new(Attached::default());
    let mut vector = || Ok(Arc::new(MessageVector::new(|_| ())) as _);
    let transport = PciTransport::new(
        "blk0",
        Arc::new(Idle),
        &ram,
        &mut vector,
        Some(attached.clone()),
    );
    let transport = Arc::new(transport.expect("a transport"));
    bus.plug(Arc::new(HostBridge::new())).expect("a slot");
    bus.plug(transport.clone()).expect("a slot");
    let config = Arc::new(ConfigPorts::new(bus.clone(), None));
    ports
        .plug(ConfigPorts::NAME, ConfigPorts::RANGE, config)
        .expect("no two overlap");
    memory
        .plug(
            Ecam::NAME,
            PciLayout::default().ecam,
            Arc::new(Ecam::new(bus.clone())),
        )
        .expect("no two overlap");

    let (operations, _) = bytes.as_chunks::<8>();
    for &[kind, width, low, high, a, b, c, d] in operations {
        let offset = u64::from(u16::from_le_bytes([low, high]));
        let value = [a, b, c, d, d, c, b, a];
        let value = &value[..usize::from(width % 8) + 1];
        let mut answer = [0; 8];
        let answer = &mut answer[..value.len()];
        match kind % 8 {
            0 => ports.write(0xcf8, &[a, b, c, d]),
            1 => ports.write(0xcf8 + offset % 8, value),
            2 => ports.read(0xcf8 + offset % 8, answer),
            3 => memory.write(ECAM + (1 << 15) + offset % 0x1000, value),
            4 => memory.read(ECAM + offset, answer),
            5 | 6 => {
                let regions = memory.regions();
                let bar = regions.iter().find(|region| region.range.base != ECAM);
                if let Some(bar) = bar {
                    let address = bar.range.base.wrapping_add(offset);
                    memory.read(address, answer);
                    memory.write(address, value);
                }
            }
            _ => {
                let saved = transport.save_state().expect("a device without state");
                transport.restore_state(&saved).expect("its own state");
                bus.settle_all();
                assert_eq!(transport.save_state().expect("as before"), saved);
                bus.resume();
            }
        }
        assert!(memory.regions().len() <= 2);
    }
    bus.reset();
    assert_eq!(memory.regions().len(), 1);
    assert!(attached.0.lock().unwrap().is_empty());
    let mut bar = [0; 4];
    bus.read_config(1, 0x10, &mut bar);
    assert_eq!(u32::from_le_bytes(bar), 0xe800_0004);
}
