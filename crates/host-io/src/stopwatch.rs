//! A clock that can stand still.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

/// Time since it was made, without that for which it was stopped. It runs from the start.
#[derive(Debug)]
pub struct Stopwatch {
    made: Instant,
    /// Nanoseconds of all stops that are over.
    // Ordering: a time alone; who reads it while it is changed may have either.
    paused: AtomicU64,
    stopped: Mutex<Option<Instant>>,
}

impl Default for Stopwatch {
    fn default() -> Self {
        Self {
            made: Instant::now(),
            paused: AtomicU64::new(0),
            stopped: Mutex::default(),
        }
    }
}

impl Stopwatch {
    /// Nanoseconds of it, true while it runs: a stop that lasts is not taken off yet.
    pub fn nanoseconds(&self) -> u64 {
        since(self.made).saturating_sub(self.paused.load(Ordering::Relaxed))
    }

    /// Stops it, where it runs.
    pub fn stop(&self) {
        let mut stopped = self.stopped.lock();
        stopped.get_or_insert_with(Instant::now);
    }

    /// Has it go on as if it had not been stopped.
    pub fn skip(&self) {
        let mut stopped = self.stopped.lock();
        *stopped = None;
    }

    /// Has it go on, where it stands.
    pub fn start(&self) {
        let mut stopped = self.stopped.lock();
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
    use std::time::Duration;

    use super::*;

    /// One that was stopped for 20 ms.
    fn stopped() -> Stopwatch {
        let watch = Stopwatch::default();
        watch.stop();
        let began = Instant::now();
        while began.elapsed() < STOP {
            std::thread::yield_now();
        }
        watch
    }

    const STOP: Duration = Duration::from_millis(20);

    #[test]
    fn a_stop_is_taken_off_unless_it_is_skipped() {
        let watch = stopped();
        watch.start();
        let shown = Duration::from_nanos(watch.nanoseconds());
        assert!(shown + STOP <= watch.made.elapsed());
        let watch = stopped();
        watch.skip();
        watch.start();
        assert!(Duration::from_nanos(watch.nanoseconds()) >= STOP);
    }
}
