//! The kick protocol in every order of its steps that the memory model of C++20 allows: no kick is lost,
//! and what its sender wrote before is seen. Run by tools/loom.
#![cfg(loom)]

use loom::sync::atomic;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use atomic::{AtomicU8, AtomicUsize, Ordering};
use protocol::Runner;

#[path = "../src/kick/protocol.rs"]
mod protocol;

/// Numbers of threads: the vCPU's, and that of all kickers.
const VCPU: i32 = 1;
const KICKER: i32 = 2;

/// A vCPU whose guest computes without end, and the host's kernel under it.
struct Machine {
    runner: Runner,
    immediate_exit: AtomicU8,
    /// The signal of a kick is pending for the vCPU's thread.
    signal: Mutex<bool>,
    arrived: Condvar,
    /// A count that kickers wrote before they kicked.
    work: AtomicUsize,
}

impl Machine {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            runner: Runner::new(),
            immediate_exit: AtomicU8::new(0),
            signal: Mutex::new(false),
            arrived: Condvar::new(),
            work: AtomicUsize::new(0),
        })
    }

    fn kick(&self) {
        self.work.fetch_add(1, Ordering::Relaxed);
        if self.runner.kick(&self.immediate_exit, KICKER).is_some() {
            *self.signal.lock().unwrap() = true;
            self.arrived.notify_one();
        }
    }

    /// KVM_RUN, which returns EINTR. Without a kick that it sees it never does, and loom says so.
    fn run(&self) {
        if !self.runner.is(VCPU) {
            self.runner.set(VCPU);
        }
        // A signal that came before runs its handler, which does nothing.
        *self.signal.lock().unwrap() = false;
        if self.immediate_exit.load(Ordering::Relaxed) != 0 {
            return;
        }
        let mut signal = self.signal.lock().unwrap();
        while !*signal {
            signal = self.arrived.wait(signal).unwrap();
        }
        *signal = false;
    }

    /// Runs until the work of `kicks` kicks is seen, which each `Interrupted` looks for.
    fn run_until(&self, kicks: usize) {
        loop {
            self.run();
            protocol::take(&self.immediate_exit);
            if self.work.load(Ordering::Relaxed) == kicks {
                return;
            }
        }
    }
}

/// `kickers` threads that kick once each, beside `vcpu` on this thread: every order of two threads, and of
/// more those in which a thread is interrupted twice at most.
fn model(kickers: usize, vcpu: fn(&Machine)) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = (kickers > 1).then_some(2);
    builder.check(move || {
        let machine = Machine::new();
        let threads: Vec<_> = (0..kickers)
            .map(|_| {
                let machine = Arc::clone(&machine);
                thread::spawn(move || machine.kick())
            })
            .collect();
        vcpu(&machine);
        machine.runner.clear();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_kick_ends_the_first_run() {
    model(1, |machine| machine.run_until(1));
}

#[test]
fn a_kick_ends_a_run_that_is_not_the_first() {
    model(1, |machine| {
        machine.runner.set(VCPU);
        machine.run_until(1);
    });
}

#[test]
fn of_two_kicks_none_is_lost() {
    model(2, |machine| machine.run_until(2));
}

#[test]
fn a_kick_amid_the_completion_of_an_access_ends_the_next_run() {
    model(1, |machine| {
        protocol::begin_completion(&machine.immediate_exit);
        machine.run();
        protocol::end_completion(&machine.immediate_exit);
        machine.run_until(1);
    });
}

#[test]
fn a_kick_that_was_seen_is_not_lost_by_the_one_who_looked() {
    model(1, |machine| {
        let seen = protocol::is_kicked(&machine.immediate_exit);
        assert!(!seen || machine.work.load(Ordering::Relaxed) == 1);
        machine.run_until(1);
    });
}
