//! A guest that starts anew in the same machine: by its own doing, by the host's, after a crash.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use support::clients::Clients;
use support::*;
use vmmkit_boot_loader::memory_map::GENERATION_ID;
use vmmkit_device_bus::{
    AddressRange, DevicePio, Lifecycle, PioAddress, PioAddressOffset, SaveState, SavedState,
    StateError,
};
use vmmkit_guest_memory::GuestAddress;
use vmmkit_host_io::{Next, Subscription};
use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::fake::{End, FakeHypervisor, Script};
use vmmkit_telemetry::Inspect;
use vmmkit_virtio::{ActivateError, Activation, Active, DeviceKind};
use vmmkit_vmm::{
    Boot, BootFile, Event, Handle, Machine, MachineBuilder, MachineConfig, MachineState, OnCrash,
    OnReboot, Outcome, Ready, ResetCause, RunError, VirtioTransport,
};

/// A machine that reboots, of `vcpus` vCPUs.
fn rebooting(hypervisor: &FakeHypervisor, vcpus: u32, on_crash: OnCrash) -> Machine<Ready> {
    let kernel = Kernel::new();
    let config = MachineConfig {
        vcpus,
        on_reboot: OnReboot::Reboot,
        on_crash,
        ..kernel.config()
    };
    // The kernel's file is gone with `kernel`: it stays open for resets.
    MachineBuilder::new(config).build(hypervisor).unwrap()
}

fn next(events: &Subscription<Event>) -> Event {
    match events.wait_for(PATIENCE) {
        Next::Message(message) => message.body,
        other => panic!("{other:?} instead of an event"),
    }
}

fn power_off(script: Script) -> Script {
    // SLP_EN and SLP_TYP 5 to PM1a control (ACPI 6.5, 4.8.3.2.1).
    script.port_write_wide(0x604, vmmkit_hypervisor::Width::Word, &[0, 0x34])
}

fn waiting(script: Script) -> Script {
    script.then(End::WaitForKick)
}

#[test]
fn a_guest_that_resets_starts_anew_until_it_powers_off() {
    for vcpus in [1, 4] {
        let once = reset(Script::new().port_write(COM1, b"x"));
        let scripts = vec![once.clone(), once, Script::new().port_write(0xf4, &[7])];
        let hypervisor = FakeHypervisor::new().with_scripts(BOOT, scripts);
        let machine = rebooting(&hypervisor, vcpus, OnCrash::Exit);
        let events = machine.handle().events().unwrap();
        assert_eq!(
            machine.start().unwrap().wait().unwrap(),
            Outcome::DebugExit(7)
        );
        assert_eq!(hypervisor.renewals(), 2);
        let told: Vec<_> = std::iter::from_fn(|| match events.next_now() {
            Next::Message(message) => Some(message.body),
            _ => None,
        })
        .collect();
        let anew = Event::Reset(ResetCause::Guest);
        let end = Event::Ended(Outcome::DebugExit(7));
        let ready = Event::ConsoleReady;
        let expected = [
            Event::Started,
            ready.clone(),
            anew.clone(),
            ready,
            anew,
            end,
        ];
        assert_eq!(told, expected, "{vcpus} vCPUs");
    }
}

#[test]
fn every_reset_register_starts_the_guest_anew() {
    let registers = [(0x64, 0xfe), (0xcf9, 6)];
    for (port, value) in registers {
        let reset = Script::new().port_write(port, &[value]);
        let scripts = vec![reset, power_off(Script::new())];
        let hypervisor = FakeHypervisor::new().with_scripts(BOOT, scripts);
        let machine = rebooting(&hypervisor, 1, OnCrash::Exit);
        let outcome = machine.start().unwrap().wait().unwrap();
        assert_eq!(outcome, Outcome::PowerOff, "port {port:#x}");
        assert_eq!(hypervisor.renewals(), 1, "port {port:#x}");
    }
}

#[test]
fn the_new_guest_finds_devices_ram_and_entry_as_at_power_on() {
    let hypervisor = FakeHypervisor::new();
    let machine = rebooting(&hypervisor, 1, OnCrash::Exit);
    let handle = machine.handle();
    let events = handle.events().unwrap();
    let (address, kernel) = (GuestAddress(0x90_0000), GuestAddress(0x10_0000));
    let running = machine.start().unwrap();
    let first = hypervisor.snapshot(BOOT).unwrap();
    let generation = || handle.ram().read::<u64>(GENERATION_ID).unwrap();
    let before = generation();
    assert_ne!(before, 0);
    handle.ram().write(address, 0x1234_u64).unwrap();
    handle.ram().write(kernel, 0_u8).unwrap();
    handle.power_button();
    assert!(handle.reset());
    assert_eq!(next(&events), Event::Started);
    assert_eq!(next(&events), Event::Reset(ResetCause::Host));
    assert_eq!(handle.ram().read::<u64>(address).unwrap(), 0);
    assert_eq!(handle.ram().read::<u8>(kernel).unwrap(), 0xf4);
    assert_eq!(hypervisor.snapshot(BOOT).unwrap(), first);
    assert_eq!(generation(), before, "a reset makes no clone");
    handle.stop();
    assert_eq!(running.wait().unwrap(), Outcome::Stopped);
}

#[test]
fn a_paused_machine_stays_paused_over_a_reset() {
    let hypervisor = FakeHypervisor::new();
    let machine = rebooting(&hypervisor, 2, OnCrash::Exit);
    let handle = machine.handle();
    let events = handle.events().unwrap();
    let running = machine.start().unwrap();
    assert!(handle.pause());
    assert!(handle.reset());
    let told = [next(&events), next(&events), next(&events)];
    let anew = Event::Reset(ResetCause::Host);
    assert_eq!(told, [Event::Started, Event::Paused, anew]);
    assert_eq!(handle.state(), MachineState::Paused);
    assert_eq!(hypervisor.transcript(BOOT).steps, 0);
    handle.resume();
    assert_eq!(next(&events), Event::Resumed);
    assert_eq!(handle.state(), MachineState::Running);
    handle.stop();
    running.wait().unwrap();
}

#[test]
fn a_machine_that_was_not_started_needs_no_reset() {
    let hypervisor = FakeHypervisor::new();
    let machine = rebooting(&hypervisor, 1, OnCrash::Exit);
    let handle = machine.handle();
    assert!(handle.reset());
    assert_eq!(handle.state(), MachineState::Ready);
    handle.stop();
    assert!(!handle.reset());
    machine.start().unwrap().wait().unwrap();
    assert_eq!(hypervisor.renewals(), 0);
}

#[test]
fn resets_meet_pauses_resumes_and_a_stop_from_other_threads() {
    for vcpus in [1, 4] {
        let hypervisor = FakeHypervisor::new();
        let machine = rebooting(&hypervisor, vcpus, OnCrash::Exit);
        let running = machine.start().unwrap();
        let acts: [fn(&Handle); 3] = [
            |handle| {
                handle.pause();
            },
            Handle::resume,
            |handle| {
                handle.reset();
            },
        ];
        let threads: Vec<_> = acts
            .into_iter()
            .map(|act| {
                let handle = running.handle();
                thread::spawn(move || (0..300).for_each(|_| act(&handle)))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        running.handle().resume();
        eventually("the last reset is done", || {
            running.handle().state() == MachineState::Running
        });
        assert!(hypervisor.renewals() > 0);
        running.handle().stop();
        assert_eq!(running.wait().unwrap(), Outcome::Stopped);
    }
}

#[test]
fn a_guest_that_resets_for_ever_keeps_no_client_waiting_and_none_keeps_it() {
    for vcpus in [1, 3] {
        let hypervisor = playing(reset(Script::new().port_write(COM1, b"x")));
        let running = rebooting(&hypervisor, vcpus, OnCrash::Exit)
            .start()
            .unwrap();
        let handle = running.handle();
        let clients = Clients::of(&handle);
        for resets in (0..=500).step_by(10) {
            eventually("ten resets more", || hypervisor.renewals() >= resets);
        }
        clients.leave();
        handle.resume();
        let so_far = hypervisor.renewals();
        eventually("it goes on", || hypervisor.renewals() > so_far + 10);
        handle.stop();
        assert_eq!(running.wait().unwrap(), Outcome::Stopped);
    }
}

#[test]
fn a_stop_in_the_middle_of_a_reset_ends_the_run() {
    for round in 0..200 {
        let hypervisor = FakeHypervisor::new();
        let machine = rebooting(&hypervisor, 1 + round % 3, OnCrash::Exit);
        let handle = machine.handle();
        let running = machine.start().unwrap();
        handle.reset();
        if round % 2 == 0 {
            eventually("the reset begins", || hypervisor.renewals() > 0);
        }
        handle.stop();
        assert_eq!(running.wait().unwrap(), Outcome::Stopped);
    }
}

#[test]
fn a_crash_exits_reboots_or_pauses() {
    let crash = Script::new();
    let scripts = vec![crash.clone(), power_off(Script::new())];
    let hypervisor = FakeHypervisor::new().with_scripts(BOOT, scripts);
    let exits = rebooting(&hypervisor, 1, OnCrash::Exit);
    let outcome = exits.start().unwrap().wait().unwrap();
    assert_eq!(outcome, Outcome::TripleFault(BOOT));

    let reboots = rebooting(&hypervisor, 1, OnCrash::Reboot);
    let events = reboots.handle().events().unwrap();
    let outcome = reboots.start().unwrap().wait().unwrap();
    assert_eq!(outcome, Outcome::PowerOff);
    assert_eq!(next(&events), Event::Started);
    assert_eq!(next(&events), Event::TripleFault(BOOT));
    assert_eq!(next(&events), Event::Reset(ResetCause::Crash));

    let pauses = rebooting(&hypervisor, 2, OnCrash::Pause);
    let handle = pauses.handle();
    let events = handle.events().unwrap();
    let running = pauses.start().unwrap();
    assert_eq!(next(&events), Event::Started);
    assert_eq!(next(&events), Event::TripleFault(BOOT));
    assert_eq!(next(&events), Event::Paused);
    let fault = Outcome::TripleFault(BOOT);
    assert_eq!(handle.state(), MachineState::Crashed(fault));
    handle.resume();
    assert_eq!(handle.state(), MachineState::Crashed(fault), "it is dead");
    assert!(handle.reset());
    assert_eq!(next(&events), Event::Reset(ResetCause::Host));
    handle.resume();
    assert_eq!(running.wait().unwrap(), Outcome::PowerOff);
}

#[test]
fn a_panic_is_a_crash_that_a_guest_may_be_resumed_from() {
    let panic = Script::new().port_write(0x505, &[1]);
    let goes_on = power_off(panic.port_write(0x505, &[1]));
    let machine = rebooting(&playing(goes_on), 1, OnCrash::Pause);
    let handle = machine.handle();
    let events = handle.events().unwrap();
    let running = machine.start().unwrap();
    let told = [next(&events), next(&events), next(&events)];
    assert_eq!(told, [Event::Started, Event::Panicked, Event::Paused]);
    let state = MachineState::Crashed(Outcome::GuestPanic);
    assert_eq!(handle.state(), state);
    handle.resume();
    assert_eq!(running.wait().unwrap(), Outcome::PowerOff);
    let told = [next(&events), next(&events)];
    assert_eq!(told, [Event::Resumed, Event::Ended(Outcome::PowerOff)]);
}

#[test]
fn a_crash_kernel_is_told_of_once_and_left_alone() {
    let loaded = Script::new()
        .port_write(0x505, &[2])
        .port_write(0x505, &[2]);
    let machine = rebooting(&playing(power_off(loaded)), 1, OnCrash::Exit);
    let events = machine.handle().events().unwrap();
    assert_eq!(machine.start().unwrap().wait().unwrap(), Outcome::PowerOff);
    let told = [next(&events), next(&events), next(&events)];
    let end = Event::Ended(Outcome::PowerOff);
    assert_eq!(told, [Event::Started, Event::CrashLoaded, end]);
}

#[test]
fn who_stops_a_crashed_guest_learns_how_it_crashed() {
    let machine = rebooting(&playing(Script::new()), 1, OnCrash::Pause);
    let handle = machine.handle();
    let running = machine.start().unwrap();
    let fault = Outcome::TripleFault(BOOT);
    eventually("it crashes", || {
        handle.state() == MachineState::Crashed(fault)
    });
    handle.stop();
    assert_eq!(running.wait().unwrap(), fault);
}

/// A path, an open file and bytes boot the same guest, and again after a reset.
#[test]
fn a_kernel_is_a_path_an_open_file_or_bytes() {
    let kernel = Kernel::new();
    let open = std::fs::File::open(&kernel.path).unwrap();
    let images: [BootFile; 3] = [
        BootFile::from(&kernel.path),
        open.into(),
        elf(&[0xf4]).into(),
    ];
    for image in images {
        let config = MachineConfig {
            on_reboot: OnReboot::Reboot,
            ..MachineConfig::new(Boot::kernel(image.clone()))
        };
        let lives = vec![reset(Script::new()), power_off(Script::new())];
        let hypervisor = FakeHypervisor::new().with_scripts(BOOT, lives);
        let machine = MachineBuilder::new(config).build(&hypervisor).unwrap();
        let outcome = machine.start().unwrap().wait().unwrap();
        assert_eq!(outcome, Outcome::PowerOff, "{image}");
    }
}

#[test]
fn a_kernel_that_became_something_else_ends_the_run_by_its_name() {
    let kernel = Kernel::new();
    let config = MachineConfig {
        on_reboot: OnReboot::Reboot,
        ..kernel.config()
    };
    let machine = MachineBuilder::new(config)
        .build(&FakeHypervisor::new())
        .unwrap();
    std::fs::write(&kernel.path, b"no kernel").unwrap();
    let running = machine.start().unwrap();
    running.handle().reset();
    match running.wait() {
        Err(RunError::Reset(cause)) => {
            let path = kernel.path.display().to_string();
            assert!(cause.to_string().contains(&path), "{cause}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn devices_of_the_embedder_are_reset_too_if_it_says_so() {
    #[derive(Default)]
    struct Device(AtomicU64, AtomicBool);
    impl DevicePio for Device {
        fn pio_read(&self, _: PioAddress, _: PioAddressOffset, _: &mut [u8]) {}
        fn pio_write(&self, _: PioAddress, _: PioAddressOffset, data: &[u8]) {
            let value = data.first().copied().unwrap_or_default();
            self.0.fetch_add(value.into(), Ordering::Relaxed);
        }
    }
    impl Inspect for Device {}
    impl SaveState for Device {
        fn save_state(&self) -> Result<SavedState, StateError> {
            Ok(SavedState::empty("device"))
        }
        fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
            saved.read_empty("device")
        }
    }
    impl Lifecycle for Device {
        fn reset(&self) {
            assert_eq!(self.0.swap(0, Ordering::Relaxed), 5);
            self.1.store(true, Ordering::Relaxed);
        }
    }
    let kernel = Kernel::new();
    let config = MachineConfig {
        on_reboot: OnReboot::Reboot,
        ..kernel.config()
    };
    let scripts = vec![
        reset(Script::new().port_write(0x520, &[5])),
        power_off(Script::new().port_write(0x520, &[6])),
    ];
    let device = Arc::new(Device::default());
    MachineBuilder::new(config)
        .plug_port_device("device", AddressRange::new(0x520, 1), device.clone())
        .lead("device", device.clone())
        .build(&FakeHypervisor::new().with_scripts(BOOT, scripts))
        .unwrap()
        .start()
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(device.0.load(Ordering::Relaxed), 6);
    assert!(device.1.load(Ordering::Relaxed));
}

#[test]
fn a_reset_powers_devices_on_without_a_line_of_the_embedder() {
    /// One that no driver takes.
    #[derive(Default)]
    struct Device(AtomicU64);
    impl vmmkit_virtio::Device for Device {
        fn kind(&self) -> DeviceKind {
            DeviceKind::MEMORY
        }
        fn queue_sizes(&self) -> &[u16] {
            &[]
        }
        fn activate(&self, _: Activation) -> Result<Box<dyn Active>, ActivateError> {
            Err(ActivateError::MissingQueue(0))
        }
        fn power_on(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    for virtio in [VirtioTransport::Mmio, VirtioTransport::Pci] {
        let kernel = Kernel::new();
        let config = MachineConfig {
            on_reboot: OnReboot::Reboot,
            virtio,
            ..kernel.config()
        };
        // Status 0 is the driver's reset of the device (virtio 1.2, 2.1), which is not a power-on.
        let driver = match virtio {
            VirtioTransport::Mmio => Script::new().mmio_write(0xd000_0070, &[0; 4]),
            _ => Script::new(),
        };
        let scripts = vec![reset(driver), power_off(Script::new())];
        let device = Arc::new(Device::default());
        MachineBuilder::new(config)
            .virtio_device(device.clone())
            .build(&FakeHypervisor::new().with_scripts(BOOT, scripts))
            .unwrap()
            .start()
            .unwrap()
            .wait()
            .unwrap();
        // A function is reset with its bus too.
        let times = match virtio {
            VirtioTransport::Mmio => 1,
            _ => 2,
        };
        assert_eq!(device.0.load(Ordering::Relaxed), times);
    }
}

#[test]
fn a_second_vcpu_that_runs_takes_part_in_every_reset() {
    let busy = waiting(Script::new().repeat(50, &Script::new().port_write(0x80, &[1])));
    let scripts = vec![reset(Script::new()), power_off(Script::new())];
    let hypervisor = FakeHypervisor::new()
        .with_scripts(BOOT, scripts)
        .with_script(VcpuId(1), busy);
    let machine = rebooting(&hypervisor, 2, OnCrash::Exit);
    assert_eq!(machine.start().unwrap().wait().unwrap(), Outcome::PowerOff);
    assert_eq!(hypervisor.renewals(), 1);
}
