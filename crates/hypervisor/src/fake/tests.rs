//! Promises that a test of a VMM may rely on.

use std::thread;

use vmmkit_device_bus::{Gsi, SavedState, StateForm};

use super::{End, FakeHypervisor, FakeVcpu, LineChange, Script};
use crate::saved::{SaveVcpu, SaveVm, VcpuSaved, VmSaved};
use crate::x86::{ClockControl, Msr, VcpuState};
use crate::{
    Error, Hypervisor, Interrupts, Irqchip, Vcpu, VcpuExit, VcpuId, Vm, VmSettings, Width,
};

const FIRST: VcpuId = VcpuId(0);

fn play(script: Script) -> (FakeHypervisor, FakeVcpu) {
    let hypervisor = FakeHypervisor::new().with_script(FIRST, script);
    let vm = hypervisor.create_vm(&VmSettings::default()).unwrap();
    let vcpu = vm.create_vcpu(FIRST).unwrap();
    (hypervisor, vcpu)
}

#[test]
fn an_answer_other_than_expected_is_a_surprise() {
    let (hypervisor, mut vcpu) = play(Script::new().port_read(0x60, Width::Word, 0x1234));
    vcpu.run().unwrap();
    vcpu.data().copy_from_slice(&[0x34, 0x13]);
    vcpu.run().unwrap();
    let transcript = hypervisor.transcript(FIRST);
    assert_eq!(transcript.answers[0].data, [0x34, 0x13]);
    assert_eq!(transcript.surprises.len(), 1, "{:?}", transcript.surprises);
}

#[test]
fn a_read_is_answered_once_it_is_completed() {
    let (hypervisor, mut vcpu) = play(Script::new().mmio_read(0xd000_0000, 4, None));
    vcpu.run().unwrap();
    vcpu.data().fill(7);
    assert!(hypervisor.transcript(FIRST).answers.is_empty());
    vcpu.complete_access().unwrap();
    assert_eq!(hypervisor.transcript(FIRST).answers[0].data, [7; 4]);
    assert!(vcpu.data().is_empty());
}

#[test]
fn a_waiting_vcpu_returns_when_kicked_and_plays_on() {
    let (hypervisor, mut vcpu) = play(Script::new().wait_for_kick().then(End::Halt));
    let kicker = vcpu.kicker();
    thread::scope(|scope| {
        let runner = scope.spawn(|| (vcpu.run().unwrap(), vcpu.run().unwrap()));
        // A kick before the run would end that instead of the wait.
        while hypervisor.transcript(FIRST).steps == 0 {
            thread::yield_now();
        }
        kicker.kick();
        assert_eq!(
            runner.join().unwrap(),
            (VcpuExit::Interrupted, VcpuExit::Halt)
        );
    });
    assert_eq!(hypervisor.transcript(FIRST).kicks, 1);
}

#[test]
fn a_kick_costs_no_step_of_the_script() {
    let (_hypervisor, mut vcpu) = play(Script::new().port_write(0x80, &[1]));
    vcpu.kicker().kick();
    assert_eq!(vcpu.run().unwrap(), VcpuExit::Interrupted);
    assert!(matches!(vcpu.run().unwrap(), VcpuExit::PortWrite(_)));
    assert_eq!(vcpu.run().unwrap(), VcpuExit::Shutdown);
}

#[test]
fn a_vcpu_without_a_script_waits_for_kicks() {
    let hypervisor = FakeHypervisor::new();
    let vm = hypervisor.create_vm(&VmSettings::default()).unwrap();
    let mut second = vm.create_vcpu(VcpuId(1)).unwrap();
    for _ in 0..3 {
        second.kicker().kick();
        assert_eq!(second.run().unwrap(), VcpuExit::Interrupted);
    }
}

#[test]
fn a_scripted_failure_is_the_hosts_error() {
    let (_hypervisor, mut vcpu) = play(Script::new().fail(14));
    let error = vcpu.run().unwrap_err();
    assert!(
        matches!(error, Error::Host { operation: "KVM_RUN", ref source }
        if source.raw_os_error() == Some(14))
    );
}

#[test]
fn repeated_steps_come_as_often_as_asked() {
    let poll = Script::new().port_read(0x3fd, Width::Byte, None);
    let (hypervisor, mut vcpu) = play(Script::new().repeat(3, &poll));
    while vcpu.run().unwrap() != VcpuExit::Shutdown {}
    assert_eq!(hypervisor.transcript(FIRST).steps, 3);
}

#[test]
fn a_string_instruction_is_one_exit_with_its_count() {
    let (_hypervisor, mut vcpu) = play(Script::new().port_read_string(0x1f0, Width::Word, 3));
    assert!(matches!(vcpu.run().unwrap(), VcpuExit::PortRead(access) if access.count == 3));
    assert_eq!(vcpu.data().len(), 6);
}

#[test]
fn only_changes_of_a_line_are_noted() {
    let hypervisor = FakeHypervisor::new();
    let vm = hypervisor.create_vm(&VmSettings::default()).unwrap();
    let line = vm.irq_line(Gsi(4));
    for high in [false, true, true, false] {
        line.set_level(high);
    }
    let change = |high| LineChange { gsi: Gsi(4), high };
    assert_eq!(hypervisor.line_changes(), [change(true), change(false)]);
    assert!(!hypervisor.line_level(Gsi(4)));
}

#[test]
fn the_state_a_vmm_set_can_be_looked_at() {
    let (hypervisor, mut vcpu) = play(Script::new());
    vcpu.set_msrs(&[Msr {
        index: 0x174,
        value: 9,
    }])
    .unwrap();
    vcpu.mark_paused().unwrap();
    assert_eq!(hypervisor.snapshot(FIRST).unwrap().msrs[&0x174], 9);
    assert_eq!(hypervisor.transcript(FIRST).pauses, 1);
}

#[test]
fn a_dirty_page_is_taken_once() {
    use crate::DirtyLog;
    use vmmkit_guest_memory::{GuestRam, RamConfig};

    let hypervisor = FakeHypervisor::new();
    let vm = hypervisor.create_vm(&VmSettings::default()).unwrap();
    let size = "1M".parse().unwrap();
    vm.map_ram(
        &GuestRam::new(&RamConfig {
            size,
            ..RamConfig::default()
        })
        .unwrap(),
    )
    .unwrap();
    vm.log_dirty_pages(true).unwrap();
    hypervisor.mark_dirty(0, 65);
    assert_eq!(vm.take_dirty_pages(0).unwrap(), [0, 2, 0, 0]);
    assert_eq!(vm.take_dirty_pages(0).unwrap(), [0; 4]);
}

/// The state that a build before this one wrote, and what the fake saves after it was restored.
fn again(golden: &str) -> (SavedState, SavedState) {
    let hypervisor = FakeHypervisor::new();
    let vm = hypervisor.create_vm(&VmSettings::default()).unwrap();
    let mut vcpu = vm.create_vcpu(FIRST).unwrap();
    let golden = SavedState::from_json(golden.as_bytes()).unwrap();
    let again = match golden.kind() {
        VcpuSaved::KIND => {
            vcpu.restore(&golden.read().unwrap()).unwrap();
            SavedState::new(&vcpu.save().unwrap())
        }
        _ => {
            SaveVm::restore(&vm, &golden.read().unwrap()).unwrap();
            SavedState::new(&SaveVm::save(&vm).unwrap())
        }
    };
    (golden, again.unwrap())
}

#[test]
fn states_of_earlier_builds_load() {
    for golden in [
        include_str!("../../goldens/x86-vcpu.v1.json"),
        include_str!("../../goldens/x86-vcpu.v2.json"),
        include_str!("../../goldens/x86-vm.v1.json"),
    ] {
        let (golden, again) = again(golden);
        if golden.version() == again.version() {
            assert_eq!(golden, again);
        }
    }
    let old = include_str!("../../goldens/x86-vcpu.v1.json");
    let new = include_str!("../../goldens/x86-vcpu.v2.json");
    let read = |golden: &str| SavedState::from_json(golden.as_bytes())?.read::<VcpuSaved>();
    assert_eq!(read(old).unwrap(), read(new).unwrap());
}

#[test]
fn a_vm_is_restored_with_the_chips_that_it_has() {
    let hypervisor = FakeHypervisor::new();
    let golden = include_str!("../../goldens/x86-vm.v1.json");
    let saved: VmSaved = SavedState::from_json(golden.as_bytes())
        .unwrap()
        .read()
        .unwrap();
    for (irqchip, refusal) in [
        (
            Irqchip::None,
            "x86-vm: pics: nothing in this machine has such a state",
        ),
        (
            Irqchip::InKernel { pit: false },
            "x86-vm: pit: nothing in this machine has such a state",
        ),
    ] {
        let vm = hypervisor.create_vm(&VmSettings::new(irqchip)).unwrap();
        match SaveVm::restore(&vm, &saved) {
            Err(Error::State(error)) => assert_eq!(error.to_string(), refusal),
            other => panic!("{other:?}"),
        }
    }
}
