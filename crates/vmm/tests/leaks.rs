//! A machine leaves nothing behind: no thread, no descriptor, no mapping.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use std::fs;

use parking_lot::{Mutex, MutexGuard};
use support::*;
use vmmkit_hypervisor::fake::{FakeHypervisor, Script};
use vmmkit_vmm::{Machine, MachineBuilder, Outcome, PauseOutcome, Ready};

/// The tests of this file count what the whole process has, so they run one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// The threads that machines start, by their names.
fn machine_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    let names = tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names
        .filter(|name| name == "vmm\n" || name.starts_with("vcpu"))
        .count()
}

/// A machine with a console in both directions.
fn machine(hypervisor: &FakeHypervisor) -> Machine<Ready> {
    let kernel = Kernel::new();
    let (_, mut console) = piped_output();
    console.input = Some(Box::new(vmmkit_vmm::FdInput::new(
        std::io::pipe().unwrap().0.into(),
    )));
    let config = vmmkit_vmm::MachineConfig {
        vcpus: 4,
        ..kernel.config()
    };
    MachineBuilder::new(config)
        .console(console)
        .build(hypervisor)
        .unwrap()
}

#[track_caller]
fn leaves_nothing(what: &str, mut act: impl FnMut()) {
    act(); // what a process makes once only
    let before = descriptors();
    for _ in 0..10 {
        act();
        assert_eq!(descriptors(), before, "{what}");
        // A joined thread may be listed a moment longer.
        eventually("every thread is gone", || machine_threads() == 0);
    }
}

#[test]
fn a_machine_dropped_in_any_state_leaves_no_thread_and_no_descriptor() {
    let _alone = alone();
    let hypervisor = FakeHypervisor::new();
    leaves_nothing("ready", || drop(machine(&hypervisor)));
    leaves_nothing("running", || drop(machine(&hypervisor).start().unwrap()));
    leaves_nothing("paused", || {
        match machine(&hypervisor).start().unwrap().pause() {
            PauseOutcome::Paused(machine) => drop(machine),
            PauseOutcome::Ended(machine) => panic!("{machine:?}"),
        }
    });
    leaves_nothing("a build that fails", || {
        let kernel = Kernel::of(b"no kernel");
        let (_, console) = piped_output();
        let builder = MachineBuilder::new(kernel.config()).console(console);
        drop(builder.build(&hypervisor).unwrap_err());
    });
}

#[test]
fn a_running_machine_has_a_thread_for_each_vcpu_and_one_for_events() {
    let _alone = alone();
    let running = machine(&FakeHypervisor::new()).start().unwrap();
    eventually("all threads have their names", || machine_threads() == 5);
    drop(running);
}

/// Kilobytes of address space and of memory in use (proc(5), /proc/pid/status).
fn memory() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
            .unwrap_or(0)
    };
    (field("VmSize:"), field("VmRSS:"))
}

#[test]
fn two_hundred_machines_in_a_row_leave_nothing() {
    let _alone = alone();
    let hypervisor = playing(reset(Script::new().port_write(COM1, b"here\n")));
    let round = || {
        let outcome = machine(&hypervisor).start().unwrap().wait().unwrap();
        assert_eq!(outcome, Outcome::Reset);
    };
    (0..20).for_each(|_| round());
    let before = (descriptors(), memory());
    (0..200).for_each(|_| round());
    eventually("every thread is gone", || machine_threads() == 0);
    let after = (descriptors(), memory());
    assert_eq!(after.0, before.0);
    // One machine has 16 MiB of RAM: a leak of each would be 3 GiB of address space.
    let (grown_size, grown_rss) = (
        after.1.0.saturating_sub(before.1.0),
        after.1.1.saturating_sub(before.1.1),
    );
    assert!(grown_size < 200 << 10, "{grown_size} kB of address space");
    assert!(grown_rss < 16 << 10, "{grown_rss} kB of memory");
}
