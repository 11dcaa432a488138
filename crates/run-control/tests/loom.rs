//! The run state in every order of the steps of a vCPU's thread and of those who ask for something: nothing that
//! is asked for is lost, and nobody waits for ever. Run by tools/loom.
#![cfg(loom)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use std::error::Error;
use std::sync::Arc;

use loom::sync::{Condvar, Mutex};
use loom::thread;
use vmmkit_hypervisor::fake::{FakeHypervisor, FakeVcpu};
use vmmkit_hypervisor::{Hypervisor, Kick, VcpuId, Vm, VmSettings};
use vmmkit_run_control::{
    Ending, Hardware, OnReboot, ResetCause, Settings, Supervisor, VcpuBody, VcpuThread, Vcpus,
};

/// A guest that computes without end, until it is kicked.
#[derive(Default)]
struct Guest {
    is_kicked: Mutex<bool>,
    changed: Condvar,
}

impl Guest {
    /// KVM_RUN, which returns EINTR. Without a kick it never does, and loom says so.
    fn run(&self) {
        let mut is_kicked = self.is_kicked.lock().unwrap();
        while !*is_kicked {
            is_kicked = self.changed.wait(is_kicked).unwrap();
        }
        *is_kicked = false;
    }
}

impl Kick for Guest {
    fn kick(&self) {
        *self.is_kicked.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

/// A board with this number of vCPUs.
struct Board(u32);

impl Board {
    fn vcpus(&self) -> Vcpus {
        let vm = FakeHypervisor::new().create_vm(&VmSettings::default());
        let vm = vm.unwrap();
        let mut vcpus = Vcpus {
            bodies: Vec::new(),
            kickers: Vec::new(),
        };
        for id in 0..self.0 {
            let guest = Arc::new(Guest::default());
            vcpus.kickers.push(guest.clone());
            let mut vcpu = vm.create_vcpu(VcpuId(id)).unwrap();
            let body: VcpuBody = Box::new(move |thread| run(&guest, &mut vcpu, thread));
            vcpus.bodies.push(body);
        }
        vcpus
    }
}

impl Hardware for Board {
    fn power_on(&self) -> Result<Vcpus, Box<dyn Error + Send + Sync>> {
        Ok(self.vcpus())
    }

    fn quiesce(&self, _: &Supervisor) {}
}

fn run(guest: &Guest, vcpu: &mut FakeVcpu, thread: &VcpuThread<'_>) -> Option<Ending> {
    while thread.may_run() || (!thread.is_over() && thread.park(vcpu)) {
        guest.run();
    }
    None
}

/// One vCPU on a thread, `other` on a second one, and `here` on this one, which ends the run when both are done.
/// A thread is interrupted `interruptions` times at most.
fn model(interruptions: usize, other: Option<fn(&Supervisor)>, here: fn(&Supervisor)) {
    model_of(1, interruptions, other, here);
}

fn model_of(
    vcpus: u32,
    interruptions: usize,
    other: Option<fn(&Supervisor)>,
    here: fn(&Supervisor),
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(interruptions);
    builder.check(move || {
        let settings = Settings {
            vcpus,
            on_reboot: OnReboot::Reboot,
            ..Settings::default()
        };
        let supervisor = Supervisor::new(settings, Arc::default());
        let board = Arc::new(Board(vcpus));
        let Vcpus { bodies, kickers } = board.vcpus();
        supervisor.start(kickers);
        let threads: Vec<_> = (0..)
            .map(VcpuId)
            .zip(bodies)
            .map(|(id, first)| {
                let (supervisor, board) = (supervisor.clone(), board.clone());
                thread::spawn(move || supervisor.run_vcpu(id, first, &*board))
            })
            .collect();
        let other = other.map(|other| {
            let supervisor = supervisor.clone();
            thread::spawn(move || other(&supervisor))
        });
        here(&supervisor);
        if let Some(other) = other {
            other.join().unwrap();
        }
        supervisor.control().stop();
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(supervisor.take_ending().is_ok());
    });
}

fn pause_and_resume(supervisor: &Supervisor) {
    if supervisor.pause(None).is_ok() {
        supervisor.resume(true);
    }
}

fn reset(supervisor: &Supervisor) {
    supervisor.control().reset(ResetCause::Host);
}

fn visit(supervisor: &Supervisor) {
    supervisor.control().visit(0..1, |id, _| id);
}

fn end(supervisor: &Supervisor) {
    supervisor.control().stop();
}

#[test]
fn an_end_reaches_a_vcpu_wherever_it_is() {
    model(3, None, |_| ());
}

#[test]
fn a_pause_reaches_the_vcpu_and_a_resume_too() {
    model(3, None, |supervisor| {
        supervisor.pause(None).unwrap();
        supervisor.resume(true);
        supervisor.pause(None).unwrap();
    });
}

#[test]
fn a_visit_is_received() {
    model(3, None, |supervisor| {
        assert_eq!(supervisor.control().visit(0..1, |id, _| id), [VcpuId(0)]);
    });
}

#[test]
fn a_pause_after_a_reset_waits_for_the_new_vcpu() {
    model(3, None, |supervisor| {
        reset(supervisor);
        supervisor.pause(None).unwrap();
    });
}

#[test]
fn a_pause_beside_a_reset() {
    model(2, Some(reset), |supervisor| {
        supervisor.pause(None).unwrap();
    });
}

#[test]
fn a_pause_beside_a_pause() {
    model(2, Some(pause_and_resume), pause_and_resume);
}

#[test]
fn a_visit_beside_a_reset() {
    model(2, Some(reset), |supervisor| {
        assert_eq!(supervisor.control().visit(0..1, |id, _| id), [VcpuId(0)]);
    });
}

#[test]
fn a_visit_beside_a_visit() {
    model(2, Some(visit), visit);
}

#[test]
fn a_visit_beside_a_pause() {
    model(2, Some(pause_and_resume), visit);
}

#[test]
fn an_end_beside_a_pause() {
    model(2, Some(pause_and_resume), end);
}

#[test]
fn an_end_beside_a_reset() {
    model(2, Some(reset), end);
}

#[test]
fn an_end_beside_a_visit() {
    model(2, Some(visit), end);
}

#[test]
fn a_reset_has_the_last_of_two_vcpus_make_both() {
    model_of(2, 0, None, |supervisor| {
        reset(supervisor);
        let ids = supervisor.control().visit(0..2, |id, _| id);
        assert_eq!(ids, [VcpuId(0), VcpuId(1)]);
    });
}

#[test]
fn a_pause_of_two_vcpus_beside_a_reset() {
    model_of(2, 0, Some(reset), |supervisor| {
        supervisor.pause(None).unwrap();
    });
}
