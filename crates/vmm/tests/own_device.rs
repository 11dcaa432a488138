//! Devices of an embedder's own are parts like all others: the example, and what it does not show.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

/// The example, as a test.
#[path = "../examples/own_device.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not called")]
mod own_device;

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use own_device::{NAME, Plugged, plug, reads, writes};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use support::*;
use vmmkit_device_bus::{
    DevicePio, GuestRequest, Lifecycle, PioAddress, PioAddressOffset, RequestSink, SaveState,
    SavedState, StateError, StateForm,
};
use vmmkit_guest_memory::GuestAddress;
use vmmkit_hypervisor::fake::{End, FakeHypervisor, Script};
use vmmkit_pci::{ConfigSpace, Identity, MsixEndpoint, MsixEndpointState, PciError, PciFunction};
use vmmkit_snapshot::{Reader, Writer};
use vmmkit_telemetry::{Inspect, Node, Tree};
use vmmkit_virtio_devices::Rng;
use vmmkit_vmm::{
    AcpiObject, BuildError, ConfigError, MachineBuilder, MachineConfig, Needs, OnReboot, Outcome,
    OwnDevice, PauseOutcome, PciSlot, VirtioTransport,
};

/// The pin of the first device of an embedder's own: the last of the I/O APIC's.
const LAST_PIN: u32 = 23;

fn rebooting(kernel: &Kernel) -> MachineConfig {
    MachineConfig {
        on_reboot: OnReboot::Reboot,
        ..kernel.config()
    }
}

#[test]
fn they_are_saved_and_restored() {
    let kernel = Kernel::new();
    let ram = std::env::temp_dir().join(format!("own-device-{}", std::process::id()));
    let mut options = File::options();
    let options = options.read(true).write(true).create(true).truncate(true);
    let file = options.open(&ram).unwrap();
    let surprises = own_device::save_and_restore(kernel.path.to_str().unwrap(), &file).unwrap();
    assert_eq!(surprises, Vec::<String>::new());
    std::fs::remove_file(ram).unwrap();
}

#[test]
fn they_are_reset_with_the_machine() {
    let kernel = Kernel::new();
    let Plugged { builder, adder, .. } = plug(rebooting(&kernel)).unwrap();
    let first = reset(writes(adder).unwrap());
    let second = reads(adder, 0, 0).unwrap().port_write(0xf4, &[7]);
    let hypervisor = FakeHypervisor::new().with_scripts(BOOT, vec![first, second]);
    let machine = builder.build(&hypervisor).unwrap();
    let outcome = machine.start().unwrap().wait().unwrap();
    assert_eq!(outcome, Outcome::DebugExit(7));
    let surprises = hypervisor.transcript(BOOT).surprises;
    assert_eq!(surprises, Vec::<String>::new());
}

#[test]
fn they_are_paused_and_inspected() {
    let kernel = Kernel::new();
    let Plugged {
        builder,
        adder,
        note,
    } = plug(kernel.config()).unwrap();
    let script = writes(adder).unwrap().then(End::WaitForKick);
    let hypervisor = FakeHypervisor::new().with_script(BOOT, script);
    let machine = builder.build(&hypervisor).unwrap().start().unwrap();
    let handle = machine.handle();
    let at = |path: &str| handle.inspect().at(path).cloned();
    eventually("the guest has written", || {
        at(&format!("{note}.device.text")) == Some(Node::Number(7))
    });
    assert_eq!(at(&format!("{NAME}.sum")), Some(Node::Number(5)));
    assert_eq!(at(&format!("{NAME}.resting")), Some(Node::Flag(false)));
    let PauseOutcome::Paused(machine) = machine.pause() else {
        panic!("it has ended");
    };
    assert_eq!(at(&format!("{NAME}.resting")), Some(Node::Flag(true)));
    let machine = machine.resume();
    assert_eq!(at(&format!("{NAME}.resting")), Some(Node::Flag(false)));
    // Each of two writes was an edge on a pin of its own.
    let changes = hypervisor.line_changes();
    let edges = changes.iter().filter(|change| change.gsi.0 == LAST_PIN);
    assert_eq!(edges.filter(|change| change.high).count(), 2);
    assert_eq!(adder.gsi.unwrap().0, LAST_PIN);
    handle.stop();
    machine.wait().unwrap();
}

#[test]
fn they_are_described_in_acpi() {
    let kernel = Kernel::new();
    let Plugged { builder, .. } = plug(kernel.config()).unwrap();
    let machine = builder.build(&FakeHypervisor::new()).unwrap();
    let mut low = vec![0; 1 << 20];
    let handle = machine.handle();
    handle.ram().read_bytes(GuestAddress(0), &mut low).unwrap();
    let holds = |text: &[u8]| low.windows(text.len()).any(|window| window == text);
    assert!(holds(b"E000\x08_HID\x0dVMKT0001\x00"));
}

/// A port: the byte that the guest writes is the code of its end.
struct EndPort(RequestSink);

impl DevicePio for EndPort {
    fn pio_read(&self, _: PioAddress, _: PioAddressOffset, _: &mut [u8]) {}

    fn pio_write(&self, _: PioAddress, _: PioAddressOffset, data: &[u8]) {
        (self.0)(GuestRequest::DebugExit(data.first().copied().unwrap_or(0)));
    }
}

impl Lifecycle for EndPort {}

impl Inspect for EndPort {}

impl SaveState for EndPort {
    fn save_state(&self) -> Result<SavedState, StateError> {
        Ok(SavedState::empty("end"))
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        saved.read_empty("end")
    }
}

#[test]
fn their_requests_reach_the_machine() {
    let kernel = Kernel::new();
    let mut builder = MachineBuilder::new(kernel.config());
    let size = kernel.config().ram.size.bytes();
    let place = builder.add_device("end", &Needs::new().ports(1), move |slot| {
        assert_eq!(slot.ram.size(), size);
        let device = Arc::new(EndPort(slot.requests));
        OwnDevice::new(device.clone()).at_ports(device)
    });
    let port = u16::try_from(place.unwrap().ports.unwrap().base).unwrap();
    let script = Script::new().port_write(port, &[42]);
    let hypervisor = FakeHypervisor::new().with_script(BOOT, script);
    let machine = builder.build(&hypervisor).unwrap();
    let outcome = machine.start().unwrap().wait().unwrap();
    assert_eq!(outcome, Outcome::DebugExit(42));
}

#[test]
fn their_interrupts_are_not_a_virtio_devices() {
    let kernel = Kernel::new();
    let Plugged { mut builder, .. } = plug(kernel.config()).unwrap();
    // With the example's own there are 16, and the adder has one of the 16 interrupts.
    for _ in 0..15 {
        builder.add_virtio(Arc::new(Rng::new()));
    }
    let error = builder.build(&FakeHypervisor::new()).unwrap_err();
    assert!(
        matches!(
            error,
            BuildError::Config(ConfigError::TooManyDevices { asked: 16, max: 15 })
        ),
        "{error}"
    );
}

/// A PCI function: what is written to base address 0 is added up, and interrupts.
struct Sum {
    endpoint: MsixEndpoint,
    sum: AtomicU32,
}

impl Sum {
    fn new(slot: PciSlot) -> Result<Arc<Self>, PciError> {
        let identity = Identity {
            vendor: 0x1b36,
            device: 0x00ff,
            class: [0xff, 0, 0],
            ..Identity::default()
        };
        let mut config = ConfigSpace::new(&identity);
        config.add_bar(0, 4096, false)?;
        Ok(Arc::new(Self {
            endpoint: MsixEndpoint::new(config, slot.vectors)?,
            sum: AtomicU32::new(0),
        }))
    }
}

impl PciFunction for Sum {
    fn name(&self) -> Arc<str> {
        "sum".into()
    }

    fn config(&self) -> &Mutex<ConfigSpace> {
        self.endpoint.config()
    }

    fn write_config(&self, register: usize, data: &[u8]) {
        self.endpoint.write_config(register, data);
    }

    fn read_bar(&self, bar: u8, offset: u64, data: &mut [u8]) {
        match bar {
            MsixEndpoint::BAR => self.endpoint.read_bar(offset, data),
            _ => data.copy_from_slice(&self.sum.load(Ordering::Relaxed).to_le_bytes()),
        }
    }

    fn write_bar(&self, bar: u8, offset: u64, data: &[u8]) {
        if bar == MsixEndpoint::BAR {
            return self.endpoint.write_bar(offset, data);
        }
        self.sum.fetch_add(data[0].into(), Ordering::Relaxed);
        self.endpoint.signal(0);
    }
}

impl Lifecycle for Sum {
    fn reset(&self) {
        self.endpoint.reset();
        self.sum.store(0, Ordering::Relaxed);
    }
}

impl Inspect for Sum {
    fn inspect(&self) -> Tree {
        Tree::new().number("sum", self.sum.load(Ordering::Relaxed))
    }
}

#[derive(Serialize, Deserialize)]
struct SumForm {
    endpoint: MsixEndpointState,
    sum: u32,
}

impl StateForm for SumForm {
    const KIND: &'static str = "sum";
    const VERSION: u32 = 1;
}

impl SaveState for Sum {
    fn save_state(&self) -> Result<SavedState, StateError> {
        SavedState::new(&SumForm {
            endpoint: self.endpoint.save(),
            sum: self.sum.load(Ordering::Relaxed),
        })
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let form: SumForm = saved.read()?;
        self.endpoint.restore("sum", &form.endpoint)?;
        self.sum.store(form.sum, Ordering::Relaxed);
        Ok(())
    }
}

/// The configuration space of device 1, and its base addresses as the bus places them.
const SUM_CONFIG: u64 = 0xe000_0000 + (1 << 15);
const SUM_BAR: u64 = 0xe800_0000;
const SUM_MSIX: u64 = 0xe800_1000;

fn with_sum(config: MachineConfig) -> MachineBuilder {
    let mut builder = MachineBuilder::new(config);
    builder.add_pci_function(1, Sum::new);
    builder
}

fn with_pci(config: MachineConfig) -> MachineConfig {
    MachineConfig {
        virtio: VirtioTransport::Pci,
        ..config
    }
}

/// The steps of a driver: it finds it, decodes its memory, makes it a bus master with message 0x41, and adds 2 and 3.
fn drive_sum() -> Script {
    Script::new()
        .mmio_read(SUM_CONFIG, 4, 0x00ff_1b36)
        .mmio_write(SUM_CONFIG + 4, &[6, 0])
        .mmio_write(SUM_MSIX, &0xfee0_0000_u32.to_le_bytes())
        .mmio_write(SUM_MSIX + 8, &[0x41, 0, 0, 0])
        .mmio_write(SUM_MSIX + 12, &[0; 4])
        .mmio_write(SUM_CONFIG + 0x42, &[0, 0x80])
        .mmio_write(SUM_BAR, &[2, 0, 0, 0])
        .mmio_write(SUM_BAR, &[3, 0, 0, 0])
        .mmio_read(SUM_BAR, 4, 5)
}

#[test]
fn a_pci_function_is_reset_and_inspected() {
    let kernel = Kernel::new();
    let first = reset(drive_sum());
    // Nothing is decoded after a reset until a driver says so, and then it begins at 0.
    let second = Script::new().mmio_read(SUM_BAR, 4, 0xffff_ffff);
    let second = second.mmio_write(SUM_CONFIG + 4, &[2, 0]);
    let second = second.mmio_read(SUM_BAR, 4, 0);
    let second = second.mmio_write(SUM_BAR, &[9, 0, 0, 0]);
    let hypervisor =
        FakeHypervisor::new().with_scripts(BOOT, vec![first, second.then(End::WaitForKick)]);
    let machine = with_sum(with_pci(rebooting(&kernel))).build(&hypervisor);
    let machine = machine.unwrap().start().unwrap();
    let handle = machine.handle();
    eventually("the second guest has written", || {
        handle.inspect().at("sum.sum") == Some(&Node::Number(9))
    });
    let bus = handle.inspect().at("pci-bus.device1").cloned();
    assert_eq!(bus, Some(Node::Text("sum".into())));
    handle.stop();
    machine.wait().unwrap();
    let surprises = hypervisor.transcript(BOOT).surprises;
    assert_eq!(surprises, Vec::<String>::new());
    // The second guest has connected no vector.
    assert_eq!(hypervisor.messages(), []);
}

#[test]
fn a_pci_function_interrupts_before_and_after_a_restore() {
    let kernel = Kernel::new();
    let config = || with_pci(kernel.config());
    let ram = std::env::temp_dir().join(format!("own-function-{}", std::process::id()));
    let mut options = File::options();
    let options = options.read(true).write(true).create(true).truncate(true);
    let file = options.open(&ram).unwrap();
    let hypervisor = FakeHypervisor::new().with_script(BOOT, drive_sum().then(End::WaitForKick));
    let machine = with_sum(config()).build(&hypervisor).unwrap();
    let machine = machine.start().unwrap();
    let handle = machine.handle();
    eventually("the guest has written", || {
        handle.inspect().at("sum.sum") == Some(&Node::Number(5))
    });
    let PauseOutcome::Paused(machine) = machine.pause() else {
        panic!("it has ended");
    };
    let mut writer = Writer::new();
    machine.save(&mut writer, &file).unwrap();
    let snapshot = writer.finish();
    drop((machine, handle));
    let data: Vec<_> = hypervisor.messages().iter().map(|it| it.data).collect();
    assert_eq!(data, [0x41, 0x41]);

    let script = Script::new().mmio_read(SUM_BAR, 4, 5);
    let script = script.mmio_write(SUM_BAR, &[1, 0, 0, 0]);
    let hypervisor = FakeHypervisor::new().with_script(BOOT, script.mmio_read(SUM_BAR, 4, 6));
    let reader = Reader::new(&snapshot).unwrap();
    let machine = with_sum(config()).restore(&hypervisor, reader, file);
    machine.unwrap().start().unwrap().wait().unwrap();
    let surprises = hypervisor.transcript(BOOT).surprises;
    assert_eq!(surprises, Vec::<String>::new());
    assert_eq!(hypervisor.messages().len(), 1);
    std::fs::remove_file(ram).unwrap();
}

#[test]
fn a_pci_function_without_a_bus_is_refused() {
    let kernel = Kernel::new();
    let error = with_sum(kernel.config()).build(&FakeHypervisor::new());
    let error = error.unwrap_err();
    assert!(matches!(error, BuildError::Pci(PciError::NoBus)), "{error}");
    let mut builder = MachineBuilder::new(with_pci(kernel.config()));
    for _ in 0..32 {
        builder.add_pci_function(1, Sum::new);
    }
    let error = builder.build(&FakeHypervisor::new()).unwrap_err();
    assert!(matches!(error, BuildError::Pci(_)), "{error}");
}

#[test]
fn aml_of_an_embedders_own_is_described_and_told_apart() {
    let kernel = Kernel::new();
    let object = |name| AcpiObject::device(name, b"\x08_HID\x0dVMKT0002\0".to_vec()).unwrap();
    let Plugged { mut builder, .. } = plug(kernel.config()).unwrap();
    builder.add_acpi_object(object("MINE"));
    let machine = builder.build(&FakeHypervisor::new()).unwrap();
    let mut low = vec![0; 1 << 20];
    let handle = machine.handle();
    handle.ram().read_bytes(GuestAddress(0), &mut low).unwrap();
    let holds = |text: &[u8]| low.windows(text.len()).any(|window| window == text);
    assert!(holds(b"MINE\x08_HID\x0dVMKT0002\x00"));

    let Plugged { mut builder, .. } = plug(kernel.config()).unwrap();
    // The first device with needs is described by that name.
    builder.add_acpi_object(object("E000"));
    let error = builder.build(&FakeHypervisor::new()).unwrap_err();
    assert!(matches!(error, BuildError::Load { .. }), "{error}");
}
