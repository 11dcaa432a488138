//! Which of many like occasions a log tells of.

use std::sync::atomic::{AtomicU64, Ordering};

/// The occasions that are all told.
const ALL: u64 = 32;

/// Counts what a guest or a client may repeat for ever, and picks what a log tells of: the first 32, and
/// then those whose number is a power of two. So there are at most 91 lines, whatever it does, and
/// the last one tells how often it was, within a factor of two. It needs no clock. Any thread may count.
///
/// ```
/// use vmmkit_telemetry::Occasions;
///
/// let resets = Occasions::default();
/// let told: Vec<u64> = (0..1000).filter_map(|_| resets.next()).collect();
/// assert_eq!(told.len(), 32 + 4);
/// assert_eq!(told.last(), Some(&512));
/// ```
#[derive(Debug, Default)]
// Ordering: a count.
pub struct Occasions(AtomicU64);

impl Occasions {
    /// None so far.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// One more; its number, from 1, if it is one to tell of.
    pub fn next(&self) -> Option<u64> {
        let number = self.0.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        (number <= ALL || number.is_power_of_two()).then_some(number)
    }
}
