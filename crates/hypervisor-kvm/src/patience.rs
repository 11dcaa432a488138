//! How long `KVM_RUN` is asked again where it says EAGAIN.

use std::time::{Duration, Instant};

/// How long it may say nothing else.
pub(crate) const LIMIT: Duration = Duration::from_secs(1);
/// Tries that come at once: what they wait for is mostly another thread of the kernel.
const AT_ONCE: u32 = 16;
/// The longest pause before a try; a kick may have to wait for it.
const LONGEST: Duration = Duration::from_millis(16);

/// The tries of one run.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    tries: u32,
    since: Option<Instant>,
}

impl Patience {
    /// How long to wait before the next try.
    pub(crate) fn pause(&mut self) -> Duration {
        self.tries = self.tries.saturating_add(1);
        match self.tries.checked_sub(AT_ONCE) {
            None | Some(0) => Duration::ZERO,
            Some(late) => LONGEST.min(Duration::from_millis(1 << late.min(8))),
        }
    }

    /// Whether it has taken [`LIMIT`] at `now`, the first time having been the first call of this.
    pub(crate) fn is_over(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        now.saturating_duration_since(since) >= LIMIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_at_once_then_by_and_by_and_have_an_end() {
        let mut patience = Patience::default();
        let mut now = Instant::now();
        let start = now;
        let mut tries = 0;
        while !patience.is_over(now) {
            let pause = patience.pause();
            assert_eq!(pause.is_zero(), tries < AT_ONCE, "{tries}");
            assert!(pause <= LONGEST);
            now += pause;
            tries += 1;
            assert!(tries < 1000, "not a loop without an end");
        }
        assert!(now - start >= LIMIT);
    }
}
