//! The pure part: buckets of tokens over a clock of nanoseconds that the caller has.

use std::num::NonZeroU64;
use std::time::Duration;

/// A limit: so many tokens in so much time. A token is a byte or an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Tokens that come back in `refill`, and the most that are saved up.
    pub size: NonZeroU64,
    /// Tokens that are there once, at the beginning, on top of `size`.
    pub burst: u64,
    /// The time in which an empty bucket becomes full; nothing counts as a nanosecond.
    pub refill: Duration,
}

/// The limits of a device; `None` means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimit {
    /// Bytes, both ways together.
    pub bandwidth: Option<Bucket>,
    /// Operations: requests of a disk, packets of a network.
    pub operations: Option<Bucket>,
}

/// A throttled queue is not woken for less time than this (or an eighth of `refill`), so that one
/// timer serves many requests.
const LEAST_WAIT: u128 = 1_000_000;

/// A bucket with its tokens. It is open while there is a token; what goes through may then take more
/// than there are, and the debt is waited for afterwards. So a request need not be weighed before it
/// is taken from its queue, and one that is larger than the bucket passes too.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    bucket: Bucket,
    left: i128,
    /// Up to when tokens were added, in nanoseconds.
    filled: u64,
}

impl Tokens {
    /// A full bucket at the time `now`.
    pub(super) fn new(bucket: Bucket, now: u64) -> Self {
        Self {
            bucket,
            left: i128::from(bucket.size.get()) + i128::from(bucket.burst),
            filled: now,
        }
    }

    pub(super) fn bucket(&self) -> Bucket {
        self.bucket
    }

    /// Nanoseconds to wait for at the time `now`; 0 where it is open.
    pub(super) fn delay(&mut self, now: u64) -> u64 {
        self.fill(now);
        if self.left > 0 {
            return 0;
        }
        let missing = self.left.unsigned_abs() + 1;
        let refill = self.refill();
        let since = u128::from(now.saturating_sub(self.filled));
        let wait = missing
            .saturating_mul(refill)
            .div_ceil(self.size())
            .saturating_sub(since)
            .max(LEAST_WAIT.min(refill / 8))
            .max(1);
        u64::try_from(wait).unwrap_or(u64::MAX)
    }

    pub(super) fn take(&mut self, tokens: u64) {
        self.left -= i128::from(tokens);
    }

    /// Adds what came since the last time. The part of a token that is left over stays in `filled`.
    fn fill(&mut self, now: u64) {
        let elapsed = u128::from(now.saturating_sub(self.filled));
        let (size, refill) = (self.size(), self.refill());
        let come = elapsed * size / refill;
        if come == 0 {
            return;
        }
        let full = i128::from(self.bucket.size.get());
        if self.left < full {
            let come = i128::try_from(come).unwrap_or(i128::MAX);
            self.left = self.left.saturating_add(come).min(full);
        }
        // Less than `elapsed`: it fits.
        let used = u64::try_from((come * refill).div_ceil(size)).unwrap_or(u64::MAX);
        self.filled = self.filled.saturating_add(used).min(now);
    }

    fn size(&self) -> u128 {
        u128::from(self.bucket.size.get())
    }

    fn refill(&self) -> u128 {
        self.bucket.refill.as_nanos().clamp(1, u64::MAX.into())
    }
}
