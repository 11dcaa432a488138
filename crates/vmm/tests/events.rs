//! The events that subscribers of a machine get, and its state meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use support::*;
use vmmkit_host_io::{Next, Subscription};
use vmmkit_hypervisor::fake::{FakeHypervisor, Script};
use vmmkit_vmm::{Event, MachineState, Outcome};

/// Everything up to the end of the stream.
fn all(events: &Subscription<Event>) -> Vec<Event> {
    let mut seen = Vec::new();
    loop {
        match events.wait_for(PATIENCE) {
            Next::Message(message) => seen.push(message.body),
            Next::Closed => return seen,
            other => panic!("{other:?} after {seen:?}"),
        }
    }
}

/// The events of a machine that plays `script`.
fn told(script: Script) -> Vec<Event> {
    let machine = build(&playing(script), 1);
    let events = machine.handle().events().unwrap();
    machine.start().unwrap().wait().unwrap();
    all(&events)
}

#[test]
fn a_run_tells_of_its_start_its_console_and_its_end() {
    let script = Script::new().port_write(COM1, b"hello");
    let end = Event::Ended(Outcome::Reset);
    assert_eq!(
        told(reset(script)),
        [Event::Started, Event::ConsoleReady, end]
    );
}

#[test]
fn a_triple_fault_is_told_before_the_end() {
    let end = Event::Ended(Outcome::TripleFault(BOOT));
    let told = told(Script::new());
    assert_eq!(told, [Event::Started, Event::TripleFault(BOOT), end]);
}

#[test]
fn pauses_are_told_once_however_many_ask() {
    let machine = build(&FakeHypervisor::new(), 2).start().unwrap();
    let handle = machine.handle();
    let events = handle.events().unwrap();
    assert!(handle.pause());
    assert!(handle.pause());
    assert_eq!(handle.state(), MachineState::Paused);
    handle.resume();
    handle.resume();
    assert_eq!(handle.state(), MachineState::Running);
    handle.stop();
    machine.wait().unwrap();
    assert_eq!(handle.state(), MachineState::Ended(Outcome::Stopped));
    let end = Event::Ended(Outcome::Stopped);
    assert_eq!(all(&events), [Event::Paused, Event::Resumed, end]);
}

#[test]
fn a_host_error_is_told_in_words() {
    let machine = build(&playing(Script::new().fail(14)), 1);
    let handle = machine.handle();
    let events = handle.events().unwrap();
    assert_eq!(handle.state(), MachineState::Ready);
    machine.start().unwrap().wait().unwrap_err();
    let told = all(&events);
    let [Event::Started, Event::Failed(reason)] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert!(reason.starts_with("vcpu0: "), "{reason}");
    assert_eq!(handle.state(), MachineState::Failed);
}

#[test]
fn a_machine_that_never_starts_closes_its_stream_with_itself() {
    let machine = build(&FakeHypervisor::new(), 1);
    let handle = machine.handle();
    let events = handle.events().unwrap();
    drop(machine);
    assert_eq!(all(&events), []);
    assert_eq!(all(&handle.events().unwrap()), []);
}
