//! Accesses that no device answered.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many addresses are kept.
const KEPT: usize = 16;

/// Accesses that no device answered, since the bus was made. Guests probe: some are normal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unclaimed {
    /// Reads, answered with ones.
    pub reads: u64,
    /// Writes, dropped.
    pub writes: u64,
    /// The first 16 different addresses, in the order of their first access.
    pub addresses: Vec<u64>,
}

/// The counters of one bus, shared by all that use it.
#[derive(Debug, Default)]
pub(crate) struct UnclaimedCounters {
    // Ordering: counts, and addresses that are whole in one word; nothing else is read because of them.
    reads: AtomicU64,
    writes: AtomicU64,
    /// Each is an address plus 1; 0 is free. They fill from the front and never change again.
    addresses: [AtomicU64; KEPT],
}

impl UnclaimedCounters {
    #[inline]
    pub(crate) fn count_read(&self, address: u64) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.keep(address);
    }

    #[inline]
    pub(crate) fn count_write(&self, address: u64) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.keep(address);
    }

    pub(crate) fn snapshot(&self) -> Unclaimed {
        let kept = self
            .addresses
            .iter()
            .map(|slot| slot.load(Ordering::Relaxed));
        Unclaimed {
            reads: self.reads.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
            addresses: kept.filter_map(|entry| entry.checked_sub(1)).collect(),
        }
    }

    #[inline]
    fn keep(&self, address: u64) {
        let entry = address.wrapping_add(1);
        let [first, ..] = &self.addresses;
        if first.load(Ordering::Relaxed) != entry {
            self.keep_entry(entry);
        }
    }

    #[inline(never)]
    fn keep_entry(&self, entry: u64) {
        // The very last address of 64 bits has no entry: no processor can reach it.
        if entry == 0 {
            return;
        }
        for slot in &self.addresses {
            let mut found = slot.load(Ordering::Relaxed);
            if found == 0 {
                let taken = slot.compare_exchange(0, entry, Ordering::Relaxed, Ordering::Relaxed);
                found = taken.map_or_else(|other| other, |_| entry);
            }
            if found == entry {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_kept_once_and_only_the_first_ones() {
        let counters = UnclaimedCounters::default();
        for address in (0..100).chain(0..100) {
            counters.count_read(address);
        }
        counters.count_write(7);
        let unclaimed = counters.snapshot();
        assert_eq!((unclaimed.reads, unclaimed.writes), (200, 1));
        assert_eq!(unclaimed.addresses, (0..16).collect::<Vec<_>>());
    }
}
