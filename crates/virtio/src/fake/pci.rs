//! The driver's side of PCI: it finds the device by the ports, its parts by the capabilities, and
//! sets up MSI-X, on buses of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use vmmkit_device_bus::{
    MessageVector, MmioBus, MsiMessage, PortBus, SaveState, SavedState, StateError,
};
use vmmkit_guest_memory::GuestRam;
use vmmkit_pci::spec::{capability as pci_capability, command, header, mechanism_1, msix};
use vmmkit_pci::{ConfigPorts, Ecam, HostBridge, PciBus, PciLayout};

use super::bell::Bell;
use crate::spec::mmio;
use crate::spec::pci::{VENDOR, capability, common, field};

use crate::{Device, PciTransport, Signal};

/// Where the driver puts the base address, which is where the bus has put it.
const BASE: u64 = 0xe800_0000;
/// The message of vector 0; the next ones follow.
const MESSAGE: u32 = 0x30;
/// Where messages go: a local APIC.
const MESSAGE_ADDRESS: u64 = 0xfee0_0000;

/// A machine with a PCI bus, and one virtio device in it.
#[derive(Debug)]
pub struct PciSlot {
    ports: PortBus,
    memory: Arc<MmioBus>,
    bus: Arc<PciBus>,
    transport: Arc<PciTransport>,
    device: u8,
    counts: Arc<Vec<AtomicU64>>,
    parts: Mutex<Parts>,
}

/// Where the driver found what, as addresses, and registers of capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parts {
    common: u64,
    isr: u64,
    device: u64,
    notify: u64,
    multiplier: u64,
    table: u64,
    pending: u64,
    msix: u16,
    window: u16,
}

impl PciSlot {
    pub(super) fn new(
        name: &str,
        device: Arc<dyn Device>,
        ram: &GuestRam,
        bell: &Arc<Bell>,
    ) -> io::Result<Self> {
        let counts = 0..=device.queue_sizes().len();
        let counts: Arc<Vec<_>> = Arc::new(counts.map(|_| AtomicU64::new(0)).collect());
        let mut vector = || {
            let (bell, counts) = (bell.clone(), counts.clone());
            let vector = MessageVector::new(move |message| ring(message, &bell, &counts));
            Ok(Arc::new(vector) as _)
        };
        let transport = PciTransport::new(name, device, ram, &mut vector, None)?;
        let transport = Arc::new(transport);
        let (ports, memory) = (PortBus::new(), Arc::new(MmioBus::new()));
        let layout = PciLayout::default();
        let bus = Arc::new(PciBus::new(&memory, layout));
        bus.plug(Arc::new(HostBridge::new()))
            .map_err(io::Error::other)?;
        let device = bus.plug(transport.clone()).map_err(io::Error::other)?;
        let config = Arc::new(ConfigPorts::new(bus.clone(), None));
        ports
            .plug(ConfigPorts::NAME, ConfigPorts::RANGE, config)
            .map_err(io::Error::other)?;
        memory
            .plug(Ecam::NAME, layout.ecam, Arc::new(Ecam::new(bus.clone())))
            .map_err(io::Error::other)?;
        Ok(Self {
            ports,
            memory,
            bus,
            transport,
            device,
            counts,
            parts: Mutex::default(),
        })
    }

    /// The transport.
    pub fn transport(&self) -> &Arc<PciTransport> {
        &self.transport
    }

    /// The bus that it is plugged into.
    pub fn bus(&self) -> &PciBus {
        &self.bus
    }

    /// The memory bus.
    pub fn memory(&self) -> &Arc<MmioBus> {
        &self.memory
    }

    /// How often the message of `vector` came: 0 is for the configuration, each queue's is its number
    /// plus 1.
    pub fn messages(&self, vector: u16) -> u64 {
        let count = self.counts.get(usize::from(vector));
        count.map_or(0, |count| count.load(Ordering::SeqCst))
    }

    /// Reads a register of the device's configuration space.
    pub fn config(&self, register: u16) -> u32 {
        let mut bytes = [0; 4];
        self.select(register);
        self.ports.read(mechanism_1::DATA.into(), &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Writes to the device's configuration space: up to 4 bytes of one double word.
    pub fn set_config(&self, register: u16, bytes: &[u8]) {
        self.select(register);
        let port = mechanism_1::DATA + (register & 3);
        self.ports.write(port.into(), bytes);
    }

    fn select(&self, register: u16) {
        let address = mechanism_1::ENABLE | u32::from(self.device) << 11 | u32::from(register);
        let address = address & mechanism_1::USED;
        self.ports
            .write(mechanism_1::ADDRESS.into(), &address.to_le_bytes());
    }

    /// Puts the base address where it belongs, finds all parts, and enables MSI-X with every vector's
    /// own message.
    pub(super) fn probe(&self) {
        debug_assert_eq!(self.config(header::VENDOR as u16) as u16, VENDOR);
        self.set_config(header::COMMAND as u16, &[0; 2]);
        self.set_config(header::BAR as u16, &(BASE as u32).to_le_bytes());
        self.set_config(header::BAR as u16 + 4, &[0; 4]);
        let on = command::MEMORY | command::MASTER;
        self.set_config(header::COMMAND as u16, &on.to_le_bytes());
        let parts = self.walk();
        *self.parts.lock() = parts;
        self.set_config(parts.msix + 2, &msix::ENABLE.to_le_bytes());
        for (index, _) in (0..).zip(self.counts.iter()) {
            self.program(index, false);
        }
    }

    /// Gives `vector` its message, and masks or unmasks it.
    pub fn program(&self, vector: u16, is_masked: bool) {
        let table = self.parts.lock().table;
        let entry = table + msix::ENTRY * u64::from(vector);
        let data = MESSAGE + u32::from(vector);
        self.memory.write(entry, &MESSAGE_ADDRESS.to_le_bytes());
        self.memory.write(entry + 8, &data.to_le_bytes());
        self.memory
            .write(entry + 12, &u32::from(is_masked).to_le_bytes());
    }

    /// The pending bits of the first 64 vectors.
    pub fn pending(&self) -> u64 {
        let mut bytes = [0; 8];
        let at = self.parts.lock().pending;
        self.memory.read(at, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// The register of a capability: of MSI-X, and of access by the configuration space.
    pub fn capabilities(&self) -> (u16, u16) {
        let parts = self.parts.lock();
        (parts.msix, parts.window)
    }

    /// Walks the list of capabilities.
    fn walk(&self) -> Parts {
        let mut parts = Parts::default();
        let mut register = self.config(header::CAPABILITIES as u16) as u16 & 0xfc;
        // More do not fit.
        for _ in 0..48 {
            let [id, next, _, kind] = self.config(register).to_le_bytes();
            let number = |field: usize| u64::from(self.config(register + field as u16));
            match (id, kind) {
                (pci_capability::MSIX, _) => {
                    parts.msix = register;
                    parts.table = BASE + number(4);
                    parts.pending = BASE + number(8);
                }
                (_, capability::COMMON) => parts.common = BASE + number(field::OFFSET),
                (_, capability::ISR) => parts.isr = BASE + number(field::OFFSET),
                (_, capability::DEVICE) => parts.device = BASE + number(field::OFFSET),
                (_, capability::NOTIFY) => {
                    parts.notify = BASE + number(field::OFFSET);
                    parts.multiplier = number(field::DATA);
                }
                (_, capability::PCI) => parts.window = register,
                _ => {}
            }
            register = u16::from(next);
            if register == 0 {
                break;
            }
        }
        parts
    }

    /// Maps configuration changes to vector 0.
    pub(super) fn bind(&self) {
        self.set(common::CONFIG_MSIX_VECTOR, 2, 0);
    }

    pub(super) fn read_device_config(&self, offset: u64, bytes: &mut [u8]) {
        let at = self.parts.lock().device;
        self.memory.read(at + offset, bytes);
    }

    pub(super) fn write_device_config(&self, offset: u64, bytes: &[u8]) {
        let at = self.parts.lock().device;
        self.memory.write(at + offset, bytes);
    }

    /// Reads a field of the common configuration, of `width` bytes.
    pub fn get(&self, offset: u64, width: usize) -> u32 {
        let at = self.parts.lock().common;
        self.number(at + offset, width)
    }

    /// Writes a field of the common configuration, of `width` bytes.
    pub fn set(&self, offset: u64, width: usize, value: u32) {
        let at = self.parts.lock().common;
        let bytes = value.to_le_bytes();
        self.memory
            .write(at + offset, bytes.get(..width).unwrap_or_default());
    }

    fn number(&self, address: u64, width: usize) -> u32 {
        let mut bytes = [0; 4];
        if let Some(part) = bytes.get_mut(..width) {
            self.memory.read(address, part);
        }
        u32::from_le_bytes(bytes)
    }

    /// Reads what MMIO has at `offset`.
    pub(super) fn read_register(&self, offset: u64) -> u32 {
        match offset {
            mmio::DEVICE_FEATURES => self.get(common::DEVICE_FEATURE, 4),
            mmio::QUEUE_SIZE_MAX => self.get(common::QUEUE_SIZE, 2),
            mmio::QUEUE_READY => self.get(common::QUEUE_ENABLE, 2),
            mmio::INTERRUPT_STATUS => {
                let at = self.parts.lock().isr;
                self.number(at, 1)
            }
            mmio::STATUS => self.get(common::DEVICE_STATUS, 1),
            mmio::CONFIG_GENERATION => self.get(common::CONFIG_GENERATION, 1),
            _ => 0,
        }
    }

    /// Writes what MMIO has at `offset`.
    pub(super) fn write_register(&self, offset: u64, value: u32) {
        match offset {
            mmio::DEVICE_FEATURES_SEL => self.set(common::DEVICE_FEATURE_SELECT, 4, value),
            mmio::DRIVER_FEATURES_SEL => self.set(common::DRIVER_FEATURE_SELECT, 4, value),
            mmio::DRIVER_FEATURES => self.set(common::DRIVER_FEATURE, 4, value),
            mmio::QUEUE_SEL => self.set(common::QUEUE_SELECT, 2, value),
            mmio::QUEUE_SIZE => self.set(common::QUEUE_SIZE, 2, value),
            mmio::QUEUE_READY => {
                let vector = self.get(common::QUEUE_SELECT, 2) + 1;
                self.set(common::QUEUE_MSIX_VECTOR, 2, vector);
                self.set(common::QUEUE_ENABLE, 2, value);
            }
            mmio::QUEUE_NOTIFY => self.notify(value),
            mmio::STATUS => self.set(common::DEVICE_STATUS, 1, value),
            mmio::QUEUE_DESC_LOW => self.set(common::QUEUE_DESC, 4, value),
            mmio::QUEUE_DESC_HIGH => self.set(common::QUEUE_DESC + 4, 4, value),
            mmio::QUEUE_DRIVER_LOW => self.set(common::QUEUE_DRIVER, 4, value),
            mmio::QUEUE_DRIVER_HIGH => self.set(common::QUEUE_DRIVER + 4, 4, value),
            mmio::QUEUE_DEVICE_LOW => self.set(common::QUEUE_DEVICE, 4, value),
            mmio::QUEUE_DEVICE_HIGH => self.set(common::QUEUE_DEVICE + 4, 4, value),
            mmio::QUEUE_RESET => self.set(common::QUEUE_RESET, 2, value),
            _ => {}
        }
    }

    /// Kicks a queue. What its offset is said to be by the queue itself is its number.
    fn notify(&self, queue: u32) {
        let Parts {
            notify, multiplier, ..
        } = *self.parts.lock();
        let address = notify + multiplier * u64::from(queue);
        self.memory.write(address, &(queue as u16).to_le_bytes());
    }

    pub(super) fn hand_over(&self, other: &Self) -> Result<SavedState, StateError> {
        let state = self.transport.save_state()?;
        other.transport.restore_state(&state)?;
        other.bus.settle_all();
        *other.parts.lock() = *self.parts.lock();
        Ok(state)
    }
}

fn ring(message: MsiMessage, bell: &Bell, counts: &[AtomicU64]) {
    let vector = message.data.wrapping_sub(MESSAGE) as usize;
    if let Some(count) = counts.get(vector) {
        count.fetch_add(1, Ordering::SeqCst);
    }
    bell.signal();
}
