//! Devices of an embedder's own are parts like all others: the example, and what it does not show.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

/// The example, as a test.
#[path = "../examples/own_device.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not called")]
mod own_device;

use std::fs::File;
use std::sync::Arc;

use own_device::{NAME, Plugged, plug, reads, writes};
use support::*;
use vmmkit_device_bus::{
    DevicePio, GuestRequest, Lifecycle, PioAddress, PioAddressOffset, RequestSink, SaveState,
    SavedState, StateError,
};
use vmmkit_guest_memory::GuestAddress;
use vmmkit_hypervisor::fake::{End, FakeHypervisor, Script};
use vmmkit_telemetry::{Inspect, Node};
use vmmkit_virtio_devices::Rng;
use vmmkit_vmm::{
    BuildError, ConfigError, MachineBuilder, MachineConfig, Needs, OnReboot, Outcome, OwnDevice,
    PauseOutcome,
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
