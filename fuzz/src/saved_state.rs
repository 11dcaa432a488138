//! Any bytes as the saved state of any part: refused, or restored and then saved as they were. The corpus is
//! the goldens of every form.

use std::sync::Arc;

use vmmkit_device_bus::{
    DeviceMmio, DevicePio, IrqLine, MessageVector, MmioAddress, MmioBus, MsiMessage, PioAddress,
    RequestSink, SaveState, SavedState, StateError,
};
use vmmkit_guest_memory::{GuestRam, RamConfig, RamSize};
use vmmkit_legacy_devices::{
    AcpiPm, Cmos, DebugConsole, DebugExit, I8042, Ioapic, IoapicOutput, PostCode, Pvpanic,
    ResetControl, SerialOutput, SerialPort, SystemControlB,
};
use vmmkit_pci::{ConfigPorts, HostBridge, PciBus, PciLayout};
use vmmkit_virtio::{
    ActivateError, Activation, Active, Device, DeviceKind, MmioTransport, PciTransport,
};
use vmmkit_virtio_devices::{
    Balloon, BalloonConfig, Block, BlockConfig, Console, Mem, MemoryDisk, Port,
};

struct Full;

impl SerialOutput for Full {
    fn push(&mut self, _: u8) -> bool {
        false
    }
}

struct Nowhere;

impl IoapicOutput for Nowhere {
    fn deliver(&self, _: MsiMessage) {}
    fn route(&self, _: u32, _: Option<MsiMessage>) {}
}

/// A device whose state is empty, and that no driver gets to work.
struct Idle;

impl Device for Idle {
    fn kind(&self) -> DeviceKind {
        DeviceKind::ENTROPY
    }
    fn features(&self) -> u64 {
        8
    }
    fn queue_sizes(&self) -> &[u16] {
        &[64, 16]
    }
    fn activate(&self, _: Activation) -> Result<Box<dyn Active>, ActivateError> {
        Err(ActivateError::MissingQueue(0))
    }
    fn state(&self) -> Option<&dyn SaveState> {
        Some(self)
    }
}

impl SaveState for Idle {
    fn save_state(&self) -> Result<SavedState, StateError> {
        Ok(SavedState::empty("idle"))
    }
    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        saved.read_empty("idle")
    }
}

fn ram() -> GuestRam {
    let size = RamSize::mebibytes(1);
    GuestRam::new(&RamConfig {
        size,
        ..RamConfig::default()
    })
    .expect("1 MiB")
}

/// Reads each port of a device that took a state, and writes to it.
fn access(device: &dyn DevicePio, ports: std::ops::Range<u16>) {
    for port in ports {
        let mut bytes = [0; 4];
        device.pio_read(PioAddress(port), 0, &mut bytes);
        device.pio_write(PioAddress(port), 0, &bytes[..1]);
    }
}

fn check(part: &dyn SaveState, saved: &SavedState) -> bool {
    let error = match part.restore_state(saved) {
        Ok(()) => {
            // Not always the same form: what the host has besides may be added, once.
            let again = part.save_state().expect("it was restored");
            part.restore_state(&again).expect("its own form");
            assert_eq!(part.save_state().expect("it was restored"), again);
            return true;
        }
        Err(error) => error.to_string(),
    };
    assert!(error.len() < 1000, "{error}");
    false
}

fn check_ports<T: SaveState + DevicePio>(
    part: &T,
    saved: &SavedState,
    ports: std::ops::Range<u16>,
) {
    if check(part, saved) {
        access(part, ports);
    }
}

fn check_legacy(saved: &SavedState) {
    let ignore: RequestSink = Arc::new(|_| ());
    let line = IrqLine::unconnected;
    match saved.kind() {
        "serial-16550a" => check_ports(
            &SerialPort::new(Box::new(Full), line()),
            saved,
            0x3f8..0x400,
        ),
        "i8042" => check_ports(&I8042::new(line(), ignore), saved, 0x60..0x65),
        "cmos" => check_ports(
            &Cmos::new(Arc::new(|| i64::MAX), 1 << 30, 0),
            saved,
            0x70..0x72,
        ),
        "acpi-pm" => {
            let block = AcpiPm::new(Arc::new(|| u64::MAX), line(), ignore);
            check_ports(&block, saved, 0x600..0x610);
        }
        "reset-control" => check_ports(&ResetControl::new(ignore), saved, 0xcf8..0xcfc),
        "post-code" => check_ports(&PostCode::new(), saved, 0x80..0x81),
        "system-control-b" => check_ports(&SystemControlB::new(), saved, 0x61..0x62),
        "debug-exit" => check_ports(&DebugExit::new(ignore), saved, 0xf4..0xf8),
        "debug-console" => check_ports(&DebugConsole::new(Box::new(Full)), saved, 0x402..0x403),
        "pvpanic" => check_ports(&Pvpanic::new(ignore), saved, 0x505..0x506),
        "ioapic" => {
            let ioapic = Ioapic::new(Arc::new(Nowhere));
            if check(&ioapic, saved) {
                ioapic.end_of_interrupt(0x29);
            }
        }
        _ => check_pci_and_virtio(saved),
    }
}

fn check_pci_and_virtio(saved: &SavedState) {
    match saved.kind() {
        "pci-config-ports" => {
            let bus = PciBus::new(&Arc::new(MmioBus::new()), PciLayout::default());
            let ports = ConfigPorts::new(Arc::new(bus), None);
            check_ports(&ports, saved, 0xcf8..0xd00);
        }
        "pci-host-bridge" => _ = check(&HostBridge::new(), saved),
        "virtio-mmio" => {
            let line = Arc::new(IrqLine::unconnected());
            let device = MmioTransport::new("idle0", Arc::new(Idle), &ram(), line).expect("fds");
            if check(&device, saved) {
                for register in (0..0x110).step_by(4) {
                    device.mmio_read(MmioAddress(0), register, &mut [0; 4]);
                }
            }
        }
        "virtio-pci" => {
            let mut vector = || Ok(Arc::new(MessageVector::new(|_| ())) as _);
            let (idle, ram) = (Arc::new(Idle), ram());
            let device = PciTransport::new("idle0", idle, &ram, &mut vector, None).expect("fds");
            check(&device, saved);
        }
        _ => check_virtio_devices(saved),
    }
}

fn check_virtio_devices(saved: &SavedState) {
    let device: Arc<dyn Device> = match saved.kind() {
        "virtio-blk" => {
            let disk = Arc::new(MemoryDisk::new(1024));
            Arc::new(Block::with_disk(disk, &BlockConfig::default()).expect("a disk"))
        }
        "virtio-console" => {
            let ports = vec![Port::null(), Port::null().named("agent")];
            Arc::new(Console::new(ports).expect("a console"))
        }
        "virtio-balloon" => Arc::new(Balloon::new(&BalloonConfig::default()).expect("a balloon")),
        "virtio-mem" => {
            let config = RamConfig {
                size: RamSize::mebibytes(128),
                max: Some(RamSize::mebibytes(256)),
                ..RamConfig::default()
            };
            let area = GuestRam::pluggable(&config)
                .expect("an area")
                .expect("room");
            Arc::new(Mem::new(area).expect("a memory device"))
        }
        _ => return,
    };
    check(device.state().expect("it has state"), saved);
}

/// Takes one input.
pub fn run(bytes: &[u8]) {
    if let Ok(saved) = SavedState::from_json(bytes) {
        check_legacy(&saved);
    }
}
