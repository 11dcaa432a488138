//! The levels of interrupt lines, and how many could not be set.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// The levels of the lines as the VMM drives them.
#[derive(Default)]
pub(crate) struct Lines {
    /// One bit for each GSI below 64. Held across the ioctl, so that the level KVM heard last is
    /// the level noted last.
    pub(crate) levels: Mutex<u64>,
    // Ordering: a count.
    failures: AtomicU64,
}

impl Lines {
    /// Puts all lines low, as they are where `replace` has put a new VM in place.
    pub(crate) fn renew(&self, replace: impl FnOnce()) {
        let mut levels = self.levels.lock();
        replace();
        *levels = 0;
    }

    /// Counts an interrupt that could not be delivered, or set up.
    pub(crate) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}
