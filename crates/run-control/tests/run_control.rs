//! A machine's vCPUs on threads, and other threads that start, pause, reset, visit and end them. Nothing here has a
//! time limit of its own: what is lost hangs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use support::{Guest, Machine};
use vmmkit_host_io::{Next, Subscription};
use vmmkit_hypervisor::VcpuId;
use vmmkit_run_control::{
    Control, Event, MachineState, OnCrash, OnReboot, Outcome, PauseError, ResetCause, RunError,
    Settings,
};
use vmmkit_telemetry::Milestone;

const COMPUTES: Guest = |_, _| ();

/// vCPU 1 waits for a device until the milestone of the entry is marked.
const WAITS_FOR_A_DEVICE: Guest = |thread, _| {
    if thread.vcpu() == VcpuId(1) {
        thread.boot_log().mark(Milestone::FirstExit);
    }
    let is_released = || thread.boot_log().milestones().reached(Milestone::Entry);
    while thread.vcpu() == VcpuId(1) && is_released().is_none() {
        thread::yield_now();
    }
};

fn two() -> Settings {
    Settings {
        vcpus: 2,
        on_reboot: OnReboot::Reboot,
        ..Settings::default()
    }
}

/// Waits until vCPU 1 waits for its device.
fn wait_for_the_device(machine: &Machine) {
    let log = machine.supervisor.control().boot_log();
    while log.milestones().reached(Milestone::FirstExit).is_none() {
        thread::yield_now();
    }
}

fn events(control: &Control) -> Subscription<Event> {
    control.events().subscribe().unwrap()
}

/// Waits for `event`.
fn wait_for(events: &Subscription<Event>, event: &Event) {
    loop {
        match events.wait() {
            Next::Message(message) if message.body == *event => return,
            Next::Closed => panic!("no {event:?}"),
            _ => {}
        }
    }
}

fn reset(cause: ResetCause) -> Event {
    Event::Reset(cause)
}

#[test]
fn a_machine_goes_from_ready_to_its_end() {
    let mut machine = Machine::new(two(), COMPUTES);
    let supervisor = machine.supervisor.clone();
    let control = supervisor.control();
    assert_eq!(control.state(), MachineState::Ready);
    assert_eq!(control.vcpus(), 2, "also before they have threads");
    assert!(control.visit(0..2, |id, _| id).is_empty());
    machine.start();
    assert_eq!(control.state(), MachineState::Running);
    supervisor.pause(None).unwrap();
    assert_eq!(control.state(), MachineState::Paused);
    supervisor.resume(true);
    assert_eq!(control.state(), MachineState::Running);
    control.stop();
    assert_eq!(machine.join().unwrap(), Outcome::Stopped);
    assert_eq!(control.state(), MachineState::Ended(Outcome::Stopped));
    assert_eq!(supervisor.pause(None), Err(PauseError::Ended));
    assert!(!control.reset(ResetCause::Host));
}

#[test]
fn a_machine_that_is_paused_before_its_start_begins_paused() {
    let mut machine = Machine::new(two(), |_, _| panic!("it runs"));
    machine.supervisor.pause(None).unwrap();
    machine.start();
    machine.supervisor.pause(None).unwrap();
    assert_eq!(machine.supervisor.control().state(), MachineState::Paused);
}

#[test]
fn visits_reach_every_vcpu_whatever_the_machine_does() {
    let mut machine = Machine::new(two(), COMPUTES);
    machine.start();
    let control = machine.supervisor.control();
    let both = [VcpuId(0), VcpuId(1)];
    assert_eq!(control.visit(0..2, |id, _| id), both);
    machine.supervisor.pause(None).unwrap();
    assert_eq!(control.visit(0..9, |id, _| id), both);
    assert_eq!(control.visit(1..2, |id, _| id), [VcpuId(1)]);
    control.hold(|vcpu| vcpu == VcpuId(0));
    machine.supervisor.resume(true);
    assert_eq!(control.visit(0..2, |id, _| id), both);
    control.reset(ResetCause::Host);
    assert_eq!(control.visit(0..2, |id, _| id), both);
    assert_eq!(control.dump().len(), 2);
}

#[test]
fn two_resets_at_once_are_one_and_each_later_one_is_another() {
    let mut machine = Machine::with_power_on(two(), COMPUTES, |supervisor| {
        let control = supervisor.control().clone();
        Box::new(move || assert!(control.reset(ResetCause::Guest)))
    });
    let events = events(machine.supervisor.control());
    machine.start();
    for life in 2..5 {
        assert!(machine.supervisor.control().reset(ResetCause::Host));
        wait_for(&events, &reset(ResetCause::Host));
        assert_eq!(machine.lives(), life);
    }
    assert!(matches!(events.next_now(), Next::Empty));
}

#[test]
fn a_guest_that_resets_for_ever_is_paused_visited_and_ended() {
    let guest: Guest = |thread, _| {
        if thread.vcpu() == VcpuId(0) {
            thread.guest_asks(Outcome::Reset);
        }
    };
    let mut machine = Machine::new(two(), guest);
    let supervisor = machine.supervisor.clone();
    machine.start();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..50 {
                        supervisor.pause(None).unwrap();
                        supervisor.control().visit(0..2, |id, _| id);
                        supervisor.resume(true);
                        supervisor.control().dump();
                        supervisor.control().state();
                    }
                })
            })
            .collect();
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
    });
    // Nobody else resumes it: it stays in the life that it is in.
    supervisor.pause(None).unwrap();
    let lives = machine.lives();
    assert_eq!(supervisor.control().visit(0..2, |id, _| id).len(), 2);
    assert_eq!(machine.lives(), lives);
    supervisor.control().stop();
    assert_eq!(machine.join().unwrap(), Outcome::Stopped);
}

#[test]
fn a_paused_machine_that_is_reset_stays_paused_and_a_pause_waits_for_the_reset() {
    let mut machine = Machine::new(two(), COMPUTES);
    let events = events(machine.supervisor.control());
    machine.start();
    machine.supervisor.pause(None).unwrap();
    machine.supervisor.control().reset(ResetCause::Host);
    machine.supervisor.pause(None).unwrap();
    assert_eq!(machine.lives(), 2, "the reset is done");
    assert_eq!(machine.supervisor.control().state(), MachineState::Paused);
    wait_for(&events, &reset(ResetCause::Host));
}

#[test]
fn a_pause_that_a_resume_overtakes_is_not_waited_for() {
    let guest: Guest = |thread, _| {
        // The last one never leaves the guest while the pause lasts.
        while thread.vcpu() == VcpuId(1) && !thread.may_run() {
            thread::yield_now();
        }
    };
    let mut machine = Machine::new(two(), guest);
    machine.start();
    let supervisor = machine.supervisor.clone();
    let pausing = thread::spawn(move || supervisor.pause(None));
    while !pausing.is_finished() {
        machine.supervisor.resume(false);
        thread::yield_now();
    }
    assert!(pausing.join().unwrap().is_ok());
}

#[test]
fn a_pause_that_is_late_is_withdrawn() {
    let mut machine = Machine::new(two(), WAITS_FOR_A_DEVICE);
    machine.start();
    wait_for_the_device(&machine);
    let late = machine
        .supervisor
        .pause(Instant::now().checked_add(Duration::from_millis(20)));
    let Err(PauseError::Vcpus { waiting, vcpus, .. }) = late else {
        panic!("{late:?}");
    };
    // The other one may not have begun.
    assert!((1..=2).contains(&waiting), "{waiting}");
    assert_eq!(vcpus, 2);
    let control = machine.supervisor.control();
    assert_eq!(control.state(), MachineState::Running);
    control.boot_log().mark(Milestone::Entry);
    machine.supervisor.pause(None).unwrap();
}

#[test]
fn a_dump_does_not_wait_for_ever_behind_a_visit() {
    let mut machine = Machine::new(two(), WAITS_FOR_A_DEVICE);
    machine.start();
    wait_for_the_device(&machine);
    let control = machine.supervisor.control().clone();
    let visiting = thread::spawn({
        let control = control.clone();
        move || control.visit(0..2, |id, _| id)
    });
    while !visiting.is_finished() && control.dump().len() == 2 {
        // The visit has not begun.
    }
    control.boot_log().mark(Milestone::Entry);
    assert_eq!(visiting.join().unwrap().len(), 2);
    assert_eq!(control.dump().len(), 2);
}

#[test]
fn a_crash_pauses_and_one_vcpu_brings_the_devices_to_rest() {
    let settings = Settings {
        on_crash: OnCrash::Pause,
        ..two()
    };
    let guest: Guest = |thread, life| {
        if life == 0 {
            thread.guest_asks(Outcome::TripleFault(thread.vcpu()));
        }
    };
    let mut machine = Machine::new(settings, guest);
    let control = machine.supervisor.control().clone();
    let events = events(&control);
    machine.start();
    wait_for(&events, &Event::Paused);
    let MachineState::Crashed(crash @ Outcome::TripleFault(_)) = control.state() else {
        panic!("{:?}", control.state());
    };
    assert_eq!(machine.board.rests.load(Ordering::SeqCst), 1);
    assert!(!machine.supervisor.may_resume());
    machine.supervisor.resume(true);
    assert_eq!(control.state(), MachineState::Crashed(crash));
    assert_eq!(control.visit(0..2, |id, _| id).len(), 2);
    control.reset(ResetCause::Host);
    wait_for(&events, &reset(ResetCause::Host));
    machine.supervisor.pause(None).unwrap();
    assert_eq!(control.state(), MachineState::Paused);
}

#[test]
fn an_end_is_final_amid_a_reset_a_pause_and_a_visit() {
    for round in 0..30 {
        let mut machine = Machine::new(two(), COMPUTES);
        let supervisor = machine.supervisor.clone();
        machine.start();
        thread::scope(|scope| {
            scope.spawn(|| {
                let _ = supervisor.pause(None);
                supervisor.resume(false);
            });
            scope.spawn(|| while supervisor.control().reset(ResetCause::Host) {});
            scope.spawn(|| while !supervisor.control().visit(0..2, |id, _| id).is_empty() {});
            for _ in 0..round {
                thread::yield_now();
            }
            supervisor.control().stop();
        });
        assert_eq!(machine.join().unwrap(), Outcome::Stopped);
    }
}

#[test]
fn an_end_amid_a_power_on_is_final() {
    let mut machine = Machine::with_power_on(two(), COMPUTES, |supervisor| {
        let control = supervisor.control().clone();
        Box::new(move || control.stop())
    });
    machine.start();
    machine.supervisor.control().reset(ResetCause::Host);
    assert_eq!(machine.join().unwrap(), Outcome::Stopped);
}

#[test]
fn a_vcpu_that_panics_ends_the_run() {
    let mut machine = Machine::new(two(), |thread, _| {
        assert_ne!(thread.vcpu(), VcpuId(1), "a device's fault");
    });
    machine.start();
    let Err(RunError::ThreadPanicked { name, message }) = machine.join() else {
        panic!("it ended otherwise");
    };
    assert_eq!(name, "vcpu1");
    assert!(message.contains("a device's fault"), "{message}");
}

#[test]
fn the_run_state_keeps_no_vcpu_after_the_end() {
    let mut machine = Machine::new(two(), COMPUTES);
    machine.start();
    let alive = Arc::downgrade(&machine.board.alive);
    let control = machine.supervisor.control().clone();
    control.reset(ResetCause::Host);
    drop(machine);
    assert!(alive.upgrade().is_none());
    assert!(control.has_ended());
}
