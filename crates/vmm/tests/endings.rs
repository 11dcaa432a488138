//! Every way a run ends, and what it says of itself.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use std::error::Error;
use std::sync::Arc;

use support::*;
use vmmkit_device_bus::{AddressRange, DevicePio, PioAddress, PioAddressOffset};
use vmmkit_hypervisor::fake::{End, FakeHypervisor, Script};
use vmmkit_hypervisor::{FailEntry, InternalError, SystemEvent, VcpuExit, VcpuId, Width};
use vmmkit_vmm::{MachineBuilder, Outcome, RunError, Subscriber};

/// The sleep type of soft-off, as the ACPI tables give it.
const S5: u16 = vmmkit_legacy_devices::acpi_pm::spec::S5_SLEEP_TYPE as u16;

#[test]
fn the_guest_ends_the_run_its_own_way() {
    let event = |event| Script::new().exit(VcpuExit::SystemEvent(event));
    let rows = [
        (
            "keyboard controller",
            Script::new().port_write(0x64, &[0xfe]),
            Outcome::Reset,
        ),
        (
            "reset control, hard",
            Script::new().port_write(0xcf9, &[0x06]),
            Outcome::Reset,
        ),
        (
            "ACPI S5",
            Script::new().port_write_wide(0x604, Width::Word, &(S5 << 10 | 1 << 13).to_le_bytes()),
            Outcome::PowerOff,
        ),
        (
            "debug exit",
            Script::new().port_write(0xf4, &[42]),
            Outcome::DebugExit(42),
        ),
        ("triple fault", Script::new(), Outcome::TripleFault(BOOT)),
        (
            "shutdown event",
            event(SystemEvent::Shutdown),
            Outcome::PowerOff,
        ),
        ("reset event", event(SystemEvent::Reset), Outcome::Reset),
        (
            "crash event",
            event(SystemEvent::Crash),
            Outcome::GuestPanic,
        ),
    ];
    for (name, script, expected) in rows {
        let (ending, _) = play(script);
        assert_eq!(ending.unwrap(), expected, "{name}");
    }
}

#[test]
fn half_a_reset_is_none() {
    let script = Script::new()
        .port_write(0x64, &[0xaa]) // self-test
        .port_write(0xcf9, &[0x02]) // the kind of reset, not its trigger
        .port_write_wide(0x604, Width::Word, &(S5 << 10).to_le_bytes()) // type, no SLP_EN
        .port_write(0xf4, &[7]);
    let (ending, _) = play(script);
    assert_eq!(ending.unwrap(), Outcome::DebugExit(7));
}

/// The error of a run whose only vCPU plays `script`, with its causes.
fn failure(script: Script) -> (RunError, String) {
    let error = play(script).0.unwrap_err();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    (error, text)
}

#[track_caller]
fn assert_names(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[test]
fn an_internal_error_names_the_vcpu_the_instruction_and_the_registers() {
    let exit = VcpuExit::InternalError(Box::new(InternalError {
        suberror: 1,
        rip: Some(0xdead_b000),
        instruction: vec![0x0f, 0xae],
        name: Some("fxsave [rax]".to_owned()),
        data: vec![],
    }));
    let (error, text) = failure(Script::new().exit(exit));
    assert!(matches!(error, RunError::InternalError { vcpu: BOOT, .. }));
    let names = [
        "vcpu0",
        "KVM_EXIT_INTERNAL_ERROR",
        "0xdeadb000",
        "0f ae",
        "`fxsave [rax]`",
        "rip 0x100000",
        "cr0 0x",
    ];
    assert_names(&text, &names);
}

#[test]
fn a_refused_entry_names_the_hardware_s_reason_and_the_host_cpu() {
    let exit = VcpuExit::FailEntry(FailEntry {
        reason: 0x8000_0021,
        cpu: 3,
    });
    let (error, text) = failure(Script::new().exit(exit));
    assert!(matches!(error, RunError::FailEntry { vcpu: BOOT, .. }));
    assert_names(
        &text,
        &[
            "vcpu0",
            "KVM_EXIT_FAIL_ENTRY",
            "0x80000021",
            "CPU 3",
            "rip 0x100000",
        ],
    );
}

#[test]
fn an_exit_nobody_knows_is_named_by_its_number() {
    let (error, text) = failure(Script::new().exit(VcpuExit::Unknown(77)));
    assert!(matches!(error, RunError::UnhandledExit { number: 77, .. }));
    assert_names(&text, &["vcpu0", "exit 77", "rip 0x100000"]);
    let unknown = SystemEvent::Other(9);
    let (_, text) = failure(Script::new().exit(VcpuExit::SystemEvent(unknown)));
    assert_names(&text, &["exit 9", "KVM_EXIT_SYSTEM_EVENT"]);
}

#[test]
fn a_halt_that_reaches_the_vmm_is_an_error_with_its_name() {
    let (_, text) = failure(Script::new().then(End::Halt));
    assert_names(&text, &["vcpu0", "KVM_EXIT_HLT"]);
}

#[test]
fn a_host_error_keeps_its_cause() {
    const EFAULT: i32 = 14;
    let (error, text) = failure(Script::new().fail(EFAULT));
    assert!(matches!(error, RunError::Vcpu { vcpu: BOOT, .. }));
    assert_names(&text, &["vcpu0", "KVM_RUN", "Bad address"]);
}

#[test]
fn one_vcpu_s_error_ends_all_of_them() {
    let hypervisor = FakeHypervisor::new()
        .with_script(BOOT, Script::new().then(End::WaitForKick))
        .with_script(VcpuId(2), Script::new().fail(5));
    let error = build(&hypervisor, 4).start().unwrap().wait().unwrap_err();
    assert!(
        matches!(
            error,
            RunError::Vcpu {
                vcpu: VcpuId(2),
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn the_first_ending_stands() {
    // The debug exit asks for the end, and the vCPU is in the guest no more.
    let script = Script::new()
        .port_write(0xf4, &[1])
        .port_write(0x64, &[0xfe])
        .fail(5);
    let hypervisor = playing(script);
    let running = build(&hypervisor, 1).start().unwrap();
    let handle = running.handle();
    eventually("the guest ends", || handle.has_ended());
    handle.stop();
    assert_eq!(running.wait().unwrap(), Outcome::DebugExit(1));
    assert_eq!(hypervisor.transcript(BOOT).steps, 1);
}

#[test]
fn what_four_vcpus_end_at_once_ends_once() {
    for _ in 0..50 {
        let scripts = (0..4).map(|id| (VcpuId(id), Script::new().port_write(0xf4, &[id as u8])));
        let hypervisor = scripts.fold(FakeHypervisor::new(), |fake, (id, script)| {
            fake.with_script(id, script)
        });
        let outcome = build(&hypervisor, 4).start().unwrap().wait().unwrap();
        assert!(matches!(outcome, Outcome::DebugExit(0..4)), "{outcome:?}");
    }
}

/// A device with a bug.
struct Broken;

impl DevicePio for Broken {
    fn pio_read(&self, _: PioAddress, _: PioAddressOffset, data: &mut [u8]) {
        panic!("no answer for {} bytes", data.len());
    }
    fn pio_write(&self, _: PioAddress, _: PioAddressOffset, _: &[u8]) {
        panic!("this device is broken");
    }
}

#[test]
fn a_device_that_panics_ends_the_run_with_its_message() {
    let rows = [
        (
            Script::new().port_write(0x520, &[1]),
            "this device is broken",
        ),
        (
            Script::new().port_read(0x520, Width::Word, None),
            "no answer for 2 bytes",
        ),
    ];
    for (script, expected) in rows {
        let kernel = Kernel::new();
        let hypervisor = FakeHypervisor::new().with_script(VcpuId(1), script);
        let config = vmmkit_vmm::MachineConfig {
            vcpus: 2,
            ..kernel.config()
        };
        let error = MachineBuilder::new(config)
            .plug_port_device("broken", AddressRange::new(0x520, 2), Arc::new(Broken))
            .build(&hypervisor)
            .unwrap()
            .start()
            .unwrap()
            .wait()
            .unwrap_err();
        let RunError::ThreadPanicked { name, message } = error else {
            panic!("{error:?}")
        };
        assert_eq!((name.as_str(), message.as_str()), ("vcpu1", expected));
    }
}

/// A subscriber with a bug.
struct BrokenSubscriber(vmmkit_host_io::EventFd);

impl event_manager::MutEventSubscriber for BrokenSubscriber {
    fn process(&mut self, _: event_manager::Events, _: &mut event_manager::EventOps<'_>) {
        panic!("this subscriber is broken");
    }
    fn init(&mut self, ops: &mut event_manager::EventOps<'_>) {
        let events = event_manager::Events::new(&self.0, event_manager::EventSet::IN);
        ops.add(events).unwrap();
        self.0.notify();
    }
}

#[test]
fn a_subscriber_that_panics_ends_the_run_with_its_message() {
    let kernel = Kernel::new();
    let subscriber: Subscriber =
        Box::new(BrokenSubscriber(vmmkit_host_io::EventFd::new().unwrap()));
    let error = MachineBuilder::new(kernel.config())
        .subscribe(subscriber)
        .build(&playing(Script::new().then(End::WaitForKick)))
        .unwrap()
        .start()
        .unwrap()
        .wait()
        .unwrap_err();
    let RunError::ThreadPanicked { name, message } = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        (name.as_str(), message.as_str()),
        ("vmm", "this subscriber is broken")
    );
}
