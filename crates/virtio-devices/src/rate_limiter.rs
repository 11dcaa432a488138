//! Limits on what a device moves, by token buckets: bytes and operations.
//!
//! A [`RateLimiter`] belongs to a device and is shared by its queues; whoever holds a clone changes
//! the limits while the device works. Each engine has a [`Throttle`] on it: it asks
//! [`Throttle::is_open`] before it takes a chain from its queue, tells
//! [`Throttle::charge`] afterwards what that was, and where the answer is no it stops until the
//! throttle's timer is readable.

mod bucket;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use vmmkit_host_io::TimerFd;

use bucket::Tokens;
pub use bucket::{Bucket, RateLimit};

/// The limits of one device. Clones share them. Any thread may call any of its functions.
#[derive(Clone)]
pub struct RateLimiter(Arc<Shared>);

struct Shared {
    /// Whether there is a limit at all, so that a device without one takes no lock.
    is_limited: AtomicBool,
    throttled: AtomicU64,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bandwidth: Option<Tokens>,
    operations: Option<Tokens>,
    /// The timers of those that may be waiting.
    timers: Vec<Weak<TimerFd>>,
}

impl RateLimiter {
    /// Limits, with full buckets.
    pub fn new(limit: RateLimit) -> Self {
        let limiter = Self(Arc::new(Shared {
            is_limited: AtomicBool::new(false),
            throttled: AtomicU64::new(0),
            began: Instant::now(),
            state: Mutex::default(),
        }));
        limiter.set(limit);
        limiter
    }

    /// Changes the limits. A bucket that stays what it was keeps its tokens, another one is full.
    /// Waiting engines look again at once.
    pub fn set(&self, limit: RateLimit) {
        let now = self.now();
        let mut state = self.state();
        state.set(limit, now);
        // Ordering: a queue that still sees the old value takes one more request by the old limit.
        let is_limited = limit != RateLimit::default();
        self.0.is_limited.store(is_limited, Ordering::Relaxed);
        state.timers.retain(|timer| match timer.upgrade() {
            Some(timer) => {
                timer.arm_once(Duration::ZERO);
                true
            }
            None => false,
        });
    }

    /// The limits.
    pub fn limit(&self) -> RateLimit {
        self.state().limit()
    }

    /// How often a queue had to wait.
    pub fn throttled(&self) -> u64 {
        self.0.throttled.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }
}

impl Default for RateLimiter {
    /// No limits.
    fn default() -> Self {
        Self::new(RateLimit::default())
    }
}

impl State {
    fn limit(&self) -> RateLimit {
        RateLimit {
            bandwidth: self.bandwidth.as_ref().map(Tokens::bucket),
            operations: self.operations.as_ref().map(Tokens::bucket),
        }
    }

    fn set(&mut self, limit: RateLimit, now: u64) {
        let old = self.limit();
        if old.bandwidth != limit.bandwidth {
            self.bandwidth = limit.bandwidth.map(|bucket| Tokens::new(bucket, now));
        }
        if old.operations != limit.operations {
            self.operations = limit.operations.map(|bucket| Tokens::new(bucket, now));
        }
    }

    /// Nanoseconds until another operation may begin; 0 where it may now.
    fn delay(&mut self, now: u64) -> u64 {
        let buckets = [&mut self.bandwidth, &mut self.operations];
        let delays = buckets.into_iter().flatten();
        delays.map(|tokens| tokens.delay(now)).max().unwrap_or(0)
    }

    fn charge(&mut self, operations: u64, bytes: u64) {
        if let Some(tokens) = &mut self.bandwidth {
            tokens.take(bytes);
        }
        if let Some(tokens) = &mut self.operations {
            tokens.take(operations);
        }
    }
}

/// One engine's share of a [`RateLimiter`]. Its descriptor is a timer's, to wait for with
/// [`Interest::Readable`](vmmkit_host_io::Interest); [`drain`](Self::drain) it then.
pub struct Throttle {
    limiter: RateLimiter,
    timer: Arc<TimerFd>,
}

impl Throttle {
    /// A throttle of `limiter`.
    ///
    /// # Errors
    /// The host's, when it has no descriptor or memory left.
    pub fn new(limiter: &RateLimiter) -> io::Result<Self> {
        let timer = Arc::new(TimerFd::new()?);
        let mut state = limiter.state();
        state.timers.retain(|timer| timer.strong_count() > 0);
        state.timers.push(Arc::downgrade(&timer));
        drop(state);
        Ok(Self {
            limiter: limiter.clone(),
            timer,
        })
    }

    /// Whether another operation may begin now. If not, the timer is set to when to ask again.
    #[inline]
    pub fn is_open(&self) -> bool {
        let shared = &self.limiter.0;
        !shared.is_limited.load(Ordering::Relaxed) || self.ask()
    }

    fn ask(&self) -> bool {
        let now = self.limiter.now();
        let mut state = self.limiter.state();
        let delay = state.delay(now);
        if delay == 0 {
            return true;
        }
        // Under the lock, so that a change of the limits fires the timer after this.
        self.timer.arm_once(Duration::from_nanos(delay));
        self.limiter.0.throttled.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// Accounts for operations that went through, and for their bytes.
    #[inline]
    pub fn charge(&self, operations: u64, bytes: u64) {
        if self.limiter.0.is_limited.load(Ordering::Relaxed) {
            self.limiter.state().charge(operations, bytes);
        }
    }

    /// Takes back the firing of the timer.
    pub fn drain(&self) {
        self.timer.drain();
    }
}

impl AsFd for Throttle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("limit", &self.limit())
            .field("throttled", &self.throttled())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Throttle").field(&self.limiter).finish()
    }
}
