//! Time that stands still while a machine is paused.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Time since it was made, without that for which it was stopped. Any thread may call it.
#[derive(Debug)]
pub struct Stopwatch {
    built: Instant,
    /// Nanoseconds of all pauses that are over.
    paused: AtomicU64,
    stopped: Mutex<Option<Instant>>,
}

impl Default for Stopwatch {
    fn default() -> Self {
        Self {
            built: Instant::now(),
            paused: AtomicU64::new(0),
            stopped: Mutex::default(),
        }
    }
}

impl Stopwatch {
    /// Nanoseconds of it. Asked while it is not stopped, as vCPUs do.
    pub fn nanoseconds(&self) -> u64 {
        since(self.built).saturating_sub(self.paused.load(Ordering::Relaxed))
    }

    /// Time stands still.
    pub fn stop(&self) {
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        stopped.get_or_insert_with(Instant::now);
    }

    /// Time goes on; without effect where it does.
    pub fn start(&self) {
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = stopped.take() {
            self.paused.fetch_add(since(at), Ordering::Relaxed);
        }
    }
}

/// 64 bits of nanoseconds last for 584 years.
fn since(then: Instant) -> u64 {
    u64::try_from(then.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_it_was_stopped_for_does_not_count() {
        let watch = Stopwatch::default();
        watch.stop();
        watch.stop();
        let before = since(watch.built);
        while since(watch.built) < before + 2_000_000 {
            std::thread::yield_now();
        }
        watch.start();
        watch.start();
        let stopped = since(watch.built) - watch.nanoseconds();
        assert!(stopped >= 2_000_000, "{stopped}");
    }
}
