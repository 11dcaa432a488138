//! Interrupts that a driver of a test waits for.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::Signal;

/// Counts interrupts, and wakes who waits for one.
#[derive(Default)]
pub(crate) struct Bell {
    count: Mutex<u64>,
    rung: Condvar,
}

impl Signal for Bell {
    fn signal(&self) {
        *self.count.lock() += 1;
        self.rung.notify_all();
    }
}

impl Bell {
    pub(super) fn count(&self) -> u64 {
        *self.count.lock()
    }

    /// Waits for the count to be more than `seen`, or for `limit`.
    pub(super) fn wait(&self, seen: u64, limit: Duration) {
        let mut count = self.count.lock();
        self.rung
            .wait_while_for(&mut count, |count| *count <= seen, limit);
    }
}
