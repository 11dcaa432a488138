//! The output buffer's wake-ups in every order of their steps: no byte waits unseen. Run by tools/loom.
#![cfg(loom)]

use std::time::Duration;

use loom::sync::{Arc, Condvar, MutexGuard};
use loom::thread;

use filling::Filling;

#[path = "../src/output/filling.rs"]
mod filling;

/// A half that is soon full.
const HALF: usize = 2;
const SOON: usize = 2;
const LINGER: Duration = Duration::from_millis(2);

/// A lock as parking_lot's.
#[derive(Debug, Default)]
struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }
}

/// A timer that fires as soon as it is armed: where it is later, more has happened meanwhile.
struct Timer {
    fired: Mutex<bool>,
    waits: Condvar,
}

impl Timer {
    fn arm_once(&self, _after: Duration) {
        *self.fired.lock() = true;
        self.waits.notify_one();
    }

    /// Waits until it has fired, and drains it. Where it never does, loom says so.
    fn wait(&self) {
        let mut fired = self.fired.lock();
        while !*fired {
            fired = self.waits.wait(fired).unwrap();
        }
        *fired = false;
    }
}

struct Buffer {
    filling: Filling,
    timer: Timer,
}

impl Buffer {
    fn new() -> Arc<Self> {
        let timer = Timer {
            fired: Mutex::default(),
            waits: Condvar::new(),
        };
        let filling = Filling::default();
        Arc::new(Self { filling, timer })
    }

    /// A guest's transmitter: it waits while the half is full.
    fn push(&self, byte: u8) {
        while !self.filling.push(byte, &self.timer, |_| false) {
            thread::yield_now();
        }
    }

    /// The event loop: takes what it is woken for, until it has `count` bytes.
    fn flush(&self, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < count {
            self.timer.wait();
            let mut half = Vec::new();
            self.filling.take_over(&mut half);
            all.extend(half);
        }
        all
    }
}

#[test]
fn bytes_of_several_threads_are_all_seen() {
    loom::model(|| {
        let buffer = Buffer::new();
        let pushers = [1, 2].map(|byte| {
            let buffer = buffer.clone();
            thread::spawn(move || buffer.push(byte))
        });
        let mut all = buffer.flush(2);
        all.sort();
        assert_eq!(all, [1, 2]);
        for pusher in pushers {
            pusher.join().unwrap();
        }
    });
}

#[test]
fn bytes_of_one_thread_come_in_order_though_the_half_was_full() {
    loom::model(|| {
        let buffer = Buffer::new();
        let flusher = {
            let buffer = buffer.clone();
            thread::spawn(move || buffer.flush(4))
        };
        for byte in 1..=4 {
            buffer.push(byte);
        }
        assert_eq!(flusher.join().unwrap(), [1, 2, 3, 4]);
    });
}
