//! Time that stands still while the device is paused: no deadline passes then.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    rested: Duration,
    resting_since: Option<Instant>,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            rested: Duration::ZERO,
            resting_since: None,
        }
    }

    /// Time at work since it was made.
    pub(super) fn now(&self) -> Duration {
        let until = self.resting_since.unwrap_or_else(Instant::now);
        let since = until.saturating_duration_since(self.started);
        since.saturating_sub(self.rested)
    }

    /// Stands still.
    pub(super) fn rest(&mut self) {
        self.resting_since.get_or_insert_with(Instant::now);
    }

    /// Goes on.
    #[inline]
    pub(super) fn wake(&mut self) {
        if let Some(since) = self.resting_since.take() {
            self.rested += since.elapsed();
        }
    }
}
