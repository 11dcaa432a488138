//! Pause, resume, stop and drop, again and again and from several threads.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use parking_lot::Mutex;
use support::*;
use vmmkit_device_bus::{
    AddressRange, DevicePio, Lifecycle, PioAddress, PioAddressOffset, SaveState, SavedState,
    StateError,
};
use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::fake::{ClockChange, End, FakeHypervisor, Script};
use vmmkit_telemetry::{Inspect, Tree};
use vmmkit_virtio_devices::Rng;
use vmmkit_vmm::{
    ClockPolicy, Machine, MachineBuilder, MachineConfig, MachineState, Outcome, PauseOutcome,
    Paused, Running,
};

/// Counts the guest's writes.
#[derive(Default)]
struct Counter(AtomicU64);

impl DevicePio for Counter {
    fn pio_read(&self, _: PioAddress, _: PioAddressOffset, _: &mut [u8]) {}
    fn pio_write(&self, _: PioAddress, _: PioAddressOffset, _: &[u8]) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Counter {
    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// `vcpus` vCPUs that write `times` each to the counter, then play on to `end`.
fn counting(vcpus: u32, times: usize, end: End) -> (Machine<Running>, Arc<Counter>) {
    let write = Script::new().port_write(0x520, &[0]);
    let script = Script::new().repeat(times, &write).then(end);
    let hypervisor = (0..vcpus).fold(FakeHypervisor::new(), |fake, id| {
        fake.with_script(VcpuId(id), script.clone())
    });
    let counter = Arc::new(Counter::default());
    let kernel = Kernel::new();
    let config = MachineConfig {
        vcpus,
        ..kernel.config()
    };
    let machine = MachineBuilder::new(config)
        .plug_port_device("counter", AddressRange::new(0x520, 1), counter.clone())
        .build(&hypervisor)
        .unwrap();
    (machine.start().unwrap(), counter)
}

#[track_caller]
fn paused(machine: Machine<Running>) -> Machine<Paused> {
    match machine.pause() {
        PauseOutcome::Paused(machine) => machine,
        PauseOutcome::Ended(machine) => panic!("ended: {:?}", machine.wait()),
    }
}

#[test]
fn a_paused_machine_stands_still_and_a_resumed_one_goes_on() {
    for vcpus in [1, 4] {
        let (mut machine, counter) = counting(vcpus, 20_000, End::WaitForKick);
        for _ in 0..500 {
            let still = paused(machine);
            let before = counter.count();
            thread::yield_now();
            assert_eq!(counter.count(), before, "{vcpus} vCPUs");
            machine = still.resume();
        }
        let all = u64::from(vcpus) * 20_000;
        eventually("all writes arrive", || counter.count() == all);
        machine.handle().stop();
        assert_eq!(machine.wait().unwrap(), Outcome::Stopped);
    }
}

#[test]
fn a_pause_that_meets_the_guest_s_end_says_so_and_keeps_the_ending() {
    let mut ended_first = 0;
    for round in 0..300 {
        let (mut machine, _) = counting(4, round % 60, End::Shutdown);
        let ending = loop {
            match machine.pause() {
                PauseOutcome::Paused(still) => machine = still.resume(),
                PauseOutcome::Ended(machine) => {
                    ended_first += 1;
                    break machine.wait();
                }
            }
        };
        assert!(matches!(ending, Ok(Outcome::TripleFault(_))), "{ending:?}");
    }
    assert_eq!(ended_first, 300);
}

#[test]
fn stop_ends_a_machine_in_every_state() {
    for vcpus in [1, 4] {
        let hypervisor = FakeHypervisor::new();
        let ready = build(&hypervisor, vcpus);
        ready.handle().stop();
        assert_eq!(ready.start().unwrap().wait().unwrap(), Outcome::Stopped);

        let running = build(&hypervisor, vcpus).start().unwrap();
        running.handle().stop();
        assert_eq!(running.wait().unwrap(), Outcome::Stopped);

        let still = paused(build(&hypervisor, vcpus).start().unwrap());
        still.handle().stop();
        assert_eq!(still.resume().wait().unwrap(), Outcome::Stopped);
    }
}

#[test]
fn a_machine_that_is_paused_before_its_start_begins_paused() {
    let script = Script::new().port_write(0xf4, &[1]);
    let hypervisor = playing(script);
    let ready = build(&hypervisor, 1);
    let handle = ready.handle();
    assert!(handle.pause());
    let running = ready.start().unwrap();
    assert!(handle.pause());
    assert_eq!(hypervisor.transcript(BOOT).steps, 0);
    handle.resume();
    assert_eq!(running.wait().unwrap(), Outcome::DebugExit(1));
    assert!(!handle.pause(), "the machine has ended");
}

#[test]
fn a_pause_of_a_machine_that_never_starts_does_not_wait() {
    let ready = build(&FakeHypervisor::new(), 4);
    let handle = ready.handle();
    assert!(handle.pause());
    drop(ready);
    assert!(handle.pause());
}

#[test]
fn threads_that_pause_and_resume_at_once_all_get_their_answer() {
    for vcpus in [1, 4] {
        let (machine, _) = counting(vcpus, 5_000, End::WaitForKick);
        let threads: Vec<_> = (0..4)
            .map(|index| {
                let handle = machine.handle();
                thread::spawn(move || {
                    for round in 0..500 {
                        if (round + index) % 2 == 0 {
                            handle.pause();
                        } else {
                            handle.resume();
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        machine.handle().stop();
        assert_eq!(machine.wait().unwrap(), Outcome::Stopped);
    }
}

#[test]
fn a_stop_meets_pauses_and_resumes_and_wins() {
    for round in 0..100 {
        let (machine, counter) = counting(4, 2_000, End::WaitForKick);
        let handle = machine.handle();
        let over = Arc::new(AtomicBool::new(false));
        let restless = thread::spawn({
            let (handle, over) = (handle.clone(), over.clone());
            move || {
                while !over.load(Ordering::Relaxed) {
                    handle.pause();
                    handle.resume();
                }
            }
        });
        eventually("the guest gets somewhere", || counter.count() >= round);
        handle.stop();
        assert_eq!(machine.wait().unwrap(), Outcome::Stopped);
        over.store(true, Ordering::Relaxed);
        restless.join().unwrap();
    }
}

#[test]
fn a_handle_outlives_its_machine() {
    let machine = build(&FakeHypervisor::new(), 1);
    let handle = machine.handle();
    drop(machine.start().unwrap());
    assert!(handle.has_ended());
    handle.stop();
    handle.resume();
    handle.power_button();
    handle.ctrl_alt_del();
    handle.send_break();
    assert!(!handle.pause());
    assert_eq!(handle.ram().size(), 16 << 20);
}

#[test]
fn every_vcpu_dumps_its_registers_and_goes_on() {
    for vcpus in [1, 4] {
        let (machine, counter) = counting(vcpus, 20_000, End::WaitForKick);
        let handle = machine.handle();
        for _ in 0..200 {
            let dumps = handle.dump_vcpus();
            let ids: Vec<u32> = dumps.iter().map(|dump| dump.vcpu.0).collect();
            assert_eq!(ids, (0..vcpus).collect::<Vec<_>>());
            assert!(dumps.iter().all(|dump| dump.registers.is_some()));
        }
        let all = u64::from(vcpus) * 20_000;
        eventually("all writes arrive", || counter.count() == all);
    }
}

#[test]
fn a_paused_machine_dumps_and_stays_paused() {
    let (machine, counter) = counting(2, 20_000, End::WaitForKick);
    let still = paused(machine);
    let handle = still.handle();
    let before = counter.count();
    assert_eq!(handle.dump_vcpus().len(), 2);
    assert_eq!(handle.state(), MachineState::Paused);
    assert!(handle.pause());
    assert_eq!(counter.count(), before);
    let machine = still.resume();
    assert_eq!(handle.state(), MachineState::Running);
    eventually("all writes arrive", || counter.count() == 40_000);
    drop(machine);
    assert_eq!(handle.dump_vcpus().len(), 0);
}

#[test]
fn dumps_meet_pauses_and_the_end() {
    for _ in 0..100 {
        let (machine, _) = counting(4, 500, End::WaitForKick);
        let threads: Vec<_> = (0..3)
            .map(|index| {
                let handle = machine.handle();
                thread::spawn(move || {
                    while !handle.has_ended() {
                        match index {
                            0 => drop(handle.pause()),
                            1 => handle.resume(),
                            _ => assert!(handle.dump_vcpus().len() <= 4),
                        }
                    }
                })
            })
            .collect();
        machine.handle().dump_vcpus();
        machine.handle().stop();
        assert_eq!(machine.wait().unwrap(), Outcome::Stopped);
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

#[test]
fn the_clocks_catch_up_where_they_are_to() {
    let script = Script::new().then(End::WaitForKick);
    let hypervisor = FakeHypervisor::new().with_script(BOOT, script);
    let kernel = Kernel::new();
    let config = MachineConfig {
        clock_after_pause: ClockPolicy::CatchUp,
        ..kernel.config()
    };
    let machine = MachineBuilder::new(config).build(&hypervisor).unwrap();
    let handle = machine.handle();
    let _running = machine.start().unwrap();
    let mut expected = Vec::new();
    // As the configuration says, and as one resume says.
    for (clock, change) in [
        (None, ClockChange::Skipped),
        (Some(ClockPolicy::Keep), ClockChange::Started),
        (Some(ClockPolicy::CatchUp), ClockChange::Skipped),
    ] {
        assert!(handle.pause());
        match clock {
            None => handle.resume(),
            Some(clock) => handle.resume_with(clock),
        }
        expected.extend([ClockChange::Stopped, change]);
        assert_eq!(hypervisor.clock_changes(), expected);
    }
}

#[test]
fn the_clocks_stand_still_while_a_machine_is_paused() {
    let script = Script::new().port_write(0x80, &[0]).then(End::WaitForKick);
    let hypervisor = (0..2).fold(FakeHypervisor::new(), |fake, id| {
        fake.with_script(VcpuId(id), script.clone())
    });
    let machine = build(&hypervisor, 2).start().unwrap();
    let handle = machine.handle();
    let clock = || hypervisor.clock_changes();
    // One that has not run yet has no gap.
    eventually("both run", || {
        (0..2).all(|id| hypervisor.transcript(VcpuId(id)).steps == 1)
    });
    assert!(clock().is_empty());
    assert!(handle.pause());
    assert!(handle.pause());
    assert_eq!(clock(), [ClockChange::Stopped]);
    handle.resume();
    handle.resume();
    assert_eq!(clock(), [ClockChange::Stopped, ClockChange::Started]);
    // Each vCPU tells the guest of the gap before it runs on.
    eventually("the guest is told", || {
        (0..2).all(|id| hypervisor.transcript(VcpuId(id)).pauses >= 1)
    });
}

/// A device that writes down what the machine does with it.
#[derive(Default)]
struct Diary(Mutex<Vec<&'static str>>);

impl Diary {
    fn note(&self, step: &'static str) {
        self.0.lock().push(step);
    }
}

impl Inspect for Diary {
    fn inspect(&self) -> Tree {
        Tree::new().number("steps", self.0.lock().len() as u64)
    }
}

impl SaveState for Diary {
    fn save_state(&self) -> Result<SavedState, StateError> {
        Ok(SavedState::empty("diary"))
    }
    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        saved.read_empty("diary")
    }
}

impl Lifecycle for Diary {
    fn start(&self) -> std::io::Result<()> {
        self.note("start");
        Ok(())
    }
    fn pause(&self) {
        self.note("pause");
    }
    fn wait_paused(&self) {
        self.note("wait");
    }
    fn resume(&self) {
        self.note("resume");
    }
    fn reset(&self) {
        self.note("reset");
    }
    fn stop(&self) {
        self.note("stop");
    }
}

#[test]
fn every_step_of_its_life_is_led_for_a_device_of_the_embedder() {
    let kernel = Kernel::new();
    let hypervisor = FakeHypervisor::new().with_script(BOOT, Script::new().then(End::WaitForKick));
    let diary = Arc::new(Diary::default());
    let machine = MachineBuilder::new(kernel.config())
        .lead("diary", diary.clone())
        .build(&hypervisor)
        .unwrap();
    let machine = machine.start().unwrap();
    let handle = machine.handle();
    let tree = handle.inspect().to_string();
    assert!(tree.contains("diary"), "{tree}");
    let PauseOutcome::Paused(machine) = machine.pause() else {
        panic!("the guest has ended");
    };
    let machine = machine.resume();
    handle.stop();
    machine.wait().unwrap();
    let steps = ["start", "pause", "wait", "resume", "stop"];
    assert_eq!(*diary.0.lock(), steps);
}

#[test]
fn two_parts_of_one_name_are_refused() {
    for name in ["diary", "rng0"] {
        let kernel = Kernel::new();
        let error = MachineBuilder::new(kernel.config())
            .virtio_device(Arc::new(Rng::new()))
            .lead("diary", Arc::new(Diary::default()))
            .lead(name, Arc::new(Diary::default()))
            .build(&FakeHypervisor::new())
            .unwrap_err();
        assert_eq!(error.to_string(), format!("two parts are called {name}"));
    }
}

#[test]
fn a_device_that_cannot_start_keeps_the_machine_from_starting_and_is_stopped() {
    #[derive(Default)]
    struct Refusing(Diary);
    impl Inspect for Refusing {}
    impl SaveState for Refusing {
        fn save_state(&self) -> Result<SavedState, StateError> {
            Ok(SavedState::empty("refusing"))
        }
        fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
            saved.read_empty("refusing")
        }
    }
    impl Lifecycle for Refusing {
        fn start(&self) -> std::io::Result<()> {
            self.0.note("start");
            Err(std::io::ErrorKind::OutOfMemory.into())
        }
        fn stop(&self) {
            self.0.note("stop");
        }
    }
    let kernel = Kernel::new();
    let device = Arc::new(Refusing::default());
    let machine = MachineBuilder::new(kernel.config())
        .lead("refusing", device.clone())
        .build(&FakeHypervisor::new())
        .unwrap();
    assert!(machine.start().is_err());
    assert_eq!(*device.0.0.lock(), ["start", "stop"]);
}
