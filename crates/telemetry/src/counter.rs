//! A counter of one thread.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread counts up and any thread reads.
///
/// Only its owner may count: two threads at once lose increments, and nothing worse. In return it
/// costs one instruction without a lock prefix, and never shares a cache line by itself.
#[derive(Debug, Default)]
// Ordering: a count.
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at 0.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// One more.
    #[inline(always)]
    pub fn increment(&self) {
        self.add(1);
    }

    /// So many more. It wraps after 2^64.
    #[inline(always)]
    pub fn add(&self, amount: u64) {
        let now = self.0.load(Ordering::Relaxed);
        self.0.store(now.wrapping_add(amount), Ordering::Relaxed);
    }

    /// Its value, as any thread sees it.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_thread_reads_what_one_counted() {
        let counter = Counter::new();
        for _ in 0..1000 {
            counter.increment();
        }
        counter.add(5);
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(counter.value(), 1005));
        });
    }
}
