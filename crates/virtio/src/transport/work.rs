//! Since when a transport has its device do something that may take long.

use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

/// The state of a piece of work, without waiting for it. The transport's registers are locked over the
/// work, and this is not.
#[derive(Debug, Default)]
pub(super) struct AtWork(Mutex<Option<Instant>>);

/// The work goes on until this is dropped.
pub(super) struct Work<'a>(&'a AtWork);

impl AtWork {
    /// Work begins. There is one at a time.
    pub(super) fn begin(&self) -> Work<'_> {
        *self.lock() = Some(Instant::now());
        Work(self)
    }

    /// How long the work that is under way has taken so far; `None` where there is none.
    pub(super) fn duration(&self) -> Option<Duration> {
        self.lock().map(|since| since.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock()
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}
