//! Devices that hang, as a disk on a dead file server and a back end that does not answer do: whoever asks
//! the machine for something learns of it soon, and the guest is none the worse.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use support::*;
use vmmkit_device_bus::{AddressRange, DevicePio, PioAddress, PioAddressOffset};
use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::fake::{End, FakeHypervisor, Script};
use vmmkit_virtio::{ActivateError, Activation, Active, Context, Device, DeviceKind, Engine};
use vmmkit_vmm::{Handle, MachineBuilder, MachineConfig, MachineState, Outcome, PauseError};

/// Far less than what hangs here hangs for.
const SOON: Duration = Duration::from_millis(50);

/// A gate that hangs until it is opened.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    changed: Condvar,
    /// How many have come to it.
    came: Mutex<u32>,
}

impl Gate {
    fn open(&self) {
        *self.is_open.lock() = true;
        self.changed.notify_all();
    }

    fn pass(&self) {
        *self.came.lock() += 1;
        let mut is_open = self.is_open.lock();
        while !*is_open {
            self.changed.wait(&mut is_open);
        }
    }

    fn came(&self) -> u32 {
        *self.came.lock()
    }
}

/// Opens a gate in the end, also where a test fails.
struct Opens(Arc<Gate>);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// A device that does not come to rest, or is not reset, before its gate is open.
#[derive(Default)]
struct Hanging {
    gate: Arc<Gate>,
    resets: bool,
}

struct HangingEngine(Arc<Gate>);

impl Device for Hanging {
    fn kind(&self) -> DeviceKind {
        DeviceKind::ENTROPY
    }

    fn queue_sizes(&self) -> &[u16] {
        &[8]
    }

    fn activate(&self, activation: Activation) -> Result<Box<dyn Active>, ActivateError> {
        let gate = match self.resets {
            true => {
                let open = Arc::new(Gate::default());
                open.open();
                open
            }
            false => self.gate.clone(),
        };
        activation.on_one_thread(Box::new(HangingEngine(gate)))
    }

    fn reset(&self) {
        if self.resets {
            self.gate.pass();
        }
    }

    fn abandon(&self) {
        if self.resets {
            self.gate.open();
        }
    }
}

impl Engine for HangingEngine {
    fn kicked(&mut self, _: &mut Context, _: u16) {}

    fn quiesce(&mut self, _: &mut Context) {
        self.0.pass();
    }
}

/// A port whose accesses hang.
struct HangingPort(Arc<Gate>);

impl DevicePio for HangingPort {
    fn pio_read(&self, _: PioAddress, _: PioAddressOffset, _: &mut [u8]) {}
    fn pio_write(&self, _: PioAddress, _: PioAddressOffset, _: &[u8]) {
        self.0.pass();
    }
}

/// Writes registers of the first virtio device.
fn registers(writes: &[(u64, u32)]) -> Script {
    writes
        .iter()
        .fold(Script::new(), |script, (offset, value)| {
            script.mmio_write(0xd000_0000 + offset, &value.to_le_bytes())
        })
}

/// Drives the device as far as DRIVER_OK, without a queue (virtio 1.2, sections 3.1.1 and 4.2.2).
fn driven() -> Script {
    registers(&[
        (0x70, 1),
        (0x70, 3),
        (0x24, 1),
        (0x20, 1),
        (0x70, 11),
        (0x70, 15),
    ])
}

fn machine(script: Script, device: Hanging) -> vmmkit_vmm::Machine<vmmkit_vmm::Ready> {
    let kernel = Kernel::new();
    MachineBuilder::new(kernel.config())
        .virtio_device(Arc::new(device))
        .build(&playing(script.then(End::WaitForKick)))
        .unwrap()
}

fn is_driven(handle: &Handle) -> bool {
    handle.devices()[0].was_driven
}

#[test]
fn a_device_that_does_not_come_to_rest_refuses_the_pause_and_the_guest_runs_on() {
    let gate = Arc::new(Gate::default());
    let device = Hanging {
        gate: gate.clone(),
        resets: false,
    };
    let running = machine(driven(), device).start().unwrap();
    let _opens = Opens(gate.clone());
    let handle = running.handle();
    eventually("the driver is ready", || is_driven(&handle));
    let refused = PauseError::Device {
        device: "rng0".to_owned(),
    };
    for _ in 0..3 {
        assert_eq!(handle.pause_within(SOON), Err(refused.clone()));
        assert_eq!(handle.state(), MachineState::Running);
    }
    // Meanwhile somebody waits for as long as it takes.
    let waits = thread::spawn({
        let handle = handle.clone();
        move || handle.pause()
    });
    eventually("it is busy", || handle.devices()[0].busy.is_some());
    let tree = handle.inspect().to_json();
    assert!(tree.contains("busy_milliseconds"), "{tree}");
    // Who has a limit does not wait behind him.
    assert_eq!(handle.pause_within(SOON), Err(refused));
    gate.open();
    assert!(waits.join().unwrap());
    assert_eq!(handle.state(), MachineState::Paused);
    assert_eq!(handle.pause_within(SOON), Ok(()));
    handle.resume();
    assert_eq!(handle.pause_within(PATIENCE), Ok(()));
    handle.stop();
    assert_eq!(running.wait().unwrap(), Outcome::Stopped);
    assert_eq!(handle.pause_within(SOON), Err(PauseError::Ended));
}

#[test]
fn a_vcpu_that_waits_for_a_device_refuses_the_pause_and_is_left_out_of_a_report() {
    let gate = Arc::new(Gate::default());
    let kernel = Kernel::new();
    let config = MachineConfig {
        vcpus: 2,
        ..kernel.config()
    };
    let port = Script::new().port_write(0x520, &[0]);
    let hypervisor = FakeHypervisor::new()
        .with_script(BOOT, port.then(End::WaitForKick))
        .with_script(VcpuId(1), Script::new().then(End::WaitForKick));
    let running = MachineBuilder::new(config)
        .plug_port_device(
            "hangs",
            AddressRange::new(0x520, 1),
            Arc::new(HangingPort(gate.clone())),
        )
        .build(&hypervisor)
        .unwrap()
        .start()
        .unwrap();
    let handle = running.handle();
    eventually("the vCPU is there", || gate.came() == 1);
    let refused = PauseError::Vcpus {
        waiting: 1,
        vcpus: 2,
        devices: Vec::new(),
    };
    let _opens = Opens(gate.clone());
    // The other one may be slow to begin.
    let is_refused = || handle.pause_within(SOON) == Err(refused.clone());
    eventually("the pause is refused", is_refused);
    assert_eq!(handle.state(), MachineState::Running);
    let dumped = || handle.dump_vcpus().iter().map(|dump| dump.vcpu).collect();
    eventually("the other one answers", || {
        let dumped: Vec<_> = dumped();
        dumped == [VcpuId(1)]
    });
    let tree = handle.inspect().to_json();
    assert!(tree.contains("exits"), "{tree}");
    // Who is refused does not take the pause from another who waits.
    let waits = thread::spawn({
        let handle = handle.clone();
        move || handle.pause()
    });
    eventually("the other has asked", || {
        handle.state() == MachineState::Paused
    });
    eventually("the pause is refused again", is_refused);
    assert_eq!(handle.state(), MachineState::Paused);
    gate.open();
    assert!(waits.join().unwrap());
    assert_eq!(handle.dump_vcpus().len(), 2);
    handle.resume();
    handle.stop();
    assert_eq!(running.wait().unwrap(), Outcome::Stopped);
}

#[test]
fn the_end_has_a_device_give_up_what_a_vcpu_waits_for() {
    let gate = Arc::new(Gate::default());
    let device = Hanging {
        gate: gate.clone(),
        resets: true,
    };
    let running = machine(registers(&[(0x70, 0)]), device).start().unwrap();
    let _opens = Opens(gate.clone());
    let handle = running.handle();
    eventually("the driver waits for the reset", || gate.came() == 1);
    let refused = handle.pause_within(SOON).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "1 of 1 vCPUs did not stop in time: waiting for rng0"
    );
    handle.stop();
    assert_eq!(running.wait().unwrap(), Outcome::Stopped);
}
