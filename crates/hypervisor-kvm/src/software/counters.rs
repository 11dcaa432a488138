//! How often the support did something.

use std::sync::atomic::{AtomicU64, Ordering};

use vmmkit_x86_emulator::Completed;

/// Counts of the help given to the guests of one `Kvm` so far. All zero on VT-x and AMD-V, where nothing of
/// it is ever engaged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SoftwareCounters {
    /// Instructions completed: name and count of those that occurred, most frequent first.
    pub completed: Vec<(&'static str, u64)>,
    /// Exceptions that they raised in the guest instead.
    pub faults: u64,
    /// System calls that went over the bridge.
    pub bridged: u64,
    /// Accesses to the bridge that were no SYSCALL, and were refused.
    pub refused: u64,
}

impl SoftwareCounters {
    /// All completions.
    pub fn completions(&self) -> u64 {
        self.completed.iter().map(|(_, count)| count).sum()
    }
}

/// The counters as they are kept. Relaxed: nobody derives an order from them.
#[derive(Debug)]
pub(crate) struct Counters {
    // Ordering: counts.
    completed: [AtomicU64; Completed::ALL.len()],
    pub(crate) faults: AtomicU64,
    pub(crate) bridged: AtomicU64,
    pub(crate) refused: AtomicU64,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            completed: std::array::from_fn(|_| AtomicU64::new(0)),
            faults: AtomicU64::new(0),
            bridged: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Counts one more.
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a completed instruction.
    pub(crate) fn count_completed(&self, instruction: Completed) {
        if let Some(counter) = self.completed.get(instruction as usize) {
            Self::count(counter);
        }
    }

    /// The values now.
    pub(crate) fn read(&self) -> SoftwareCounters {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let named = Completed::ALL.iter().zip(&self.completed);
        let named = named.map(|(instruction, counter)| (instruction.name(), value(counter)));
        let mut completed: Vec<_> = named.filter(|&(_, count)| count > 0).collect();
        completed.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        SoftwareCounters {
            completed,
            faults: value(&self.faults),
            bridged: value(&self.bridged),
            refused: value(&self.refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_instruction_comes_first_and_others_are_left_out() {
        let counters = Counters::new();
        counters.count_completed(Completed::Popcnt);
        counters.count_completed(Completed::Clac);
        counters.count_completed(Completed::Clac);
        Counters::count(&counters.bridged);
        let read = counters.read();
        assert_eq!(read.completed, [("CLAC", 2), ("POPCNT", 1)]);
        assert_eq!((read.completions(), read.bridged, read.faults), (3, 1, 0));
    }
}
