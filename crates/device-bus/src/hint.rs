//! Guesses at where an address leads, so that most accesses need no search.

/// Where to look first. Any answer is allowed: the map checks it.
pub(crate) trait Hint {
    /// The index of the region that may own `key`.
    fn guess(&self, key: u64) -> usize;
    /// `key` led to the region `index`.
    fn learn(&mut self, key: u64, index: usize);
}

/// No memory: every access searches.
pub(crate) struct NoHint;

impl Hint for NoHint {
    #[inline]
    fn guess(&self, _key: u64) -> usize {
        usize::MAX
    }

    #[inline]
    fn learn(&mut self, _key: u64, _index: usize) {}
}

/// How many keys are remembered: with 32 devices in use, about one in ten shares its slot.
const SLOTS: usize = 256;

/// The last region of each slot; a key belongs to one slot, as in a direct-mapped cache.
pub(crate) struct Hints {
    slots: [u16; SLOTS],
}

impl Hints {
    pub(crate) const fn new() -> Self {
        Self { slots: [0; SLOTS] }
    }
}

impl Hint for Hints {
    #[inline]
    fn guess(&self, key: u64) -> usize {
        self.slots.get(slot(key)).copied().unwrap_or(0).into()
    }

    #[inline]
    fn learn(&mut self, key: u64, index: usize) {
        if let Some(place) = self.slots.get_mut(slot(key)) {
            // A map of more than 65,536 regions is searched for the later ones.
            *place = index as u16;
        }
    }
}

/// The slot of a key: the top 8 bits of its product with 2^64 divided by the golden ratio, which
/// spreads keys that differ by a constant.
#[inline]
const fn slot(key: u64) -> usize {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_is_guessed() {
        let mut hints = Hints::new();
        hints.learn(0x7f, 3);
        hints.learn(0x80, 4);
        assert_eq!((hints.guess(0x7f), hints.guess(0x80)), (3, 4));
    }

    #[test]
    fn neighbours_have_slots_of_their_own() {
        let mut slots: Vec<usize> = (0x7f..0x9f).map(slot).collect();
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(slots.len(), 32);
        assert!(slots.iter().all(|&slot| slot < SLOTS));
    }
}
