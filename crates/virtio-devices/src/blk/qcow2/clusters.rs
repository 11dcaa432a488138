//! Sets of clusters.

/// A set of clusters of a file: a bit for each, in memory that the host gives when it is first written.
pub(super) struct Clusters(Vec<u64>);

impl Clusters {
    /// An empty set of numbers below `count`.
    pub(super) fn new(count: u64) -> Self {
        let words = usize::try_from(count.div_ceil(64)).unwrap_or(0);
        Self(vec![0; words])
    }

    /// Adds one; whether it is new. One that is too large is not.
    pub(super) fn insert(&mut self, cluster: u64) -> bool {
        let bit = 1 << (cluster % 64);
        match self.word(cluster) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                true
            }
            _ => false,
        }
    }

    pub(super) fn contains(&self, cluster: u64) -> bool {
        let index = usize::try_from(cluster / 64).ok();
        let word = index.and_then(|index| self.0.get(index));
        word.is_some_and(|word| word & 1 << (cluster % 64) != 0)
    }

    /// All of them, from the first one.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        let words = (0..).step_by(64).zip(&self.0);
        words
            .filter(|(_, word)| **word != 0)
            .flat_map(|(first, word)| {
                let bits = (0..64).filter(move |bit| word >> bit & 1 != 0);
                bits.map(move |bit| first + bit)
            })
    }

    fn word(&mut self, cluster: u64) -> Option<&mut u64> {
        self.0.get_mut(usize::try_from(cluster / 64).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_inserted_and_nothing_beyond_its_end() {
        let mut set = Clusters::new(200);
        for cluster in [0, 63, 64, 199] {
            assert!(set.insert(cluster));
            assert!(!set.insert(cluster) && set.contains(cluster));
        }
        assert!(!set.insert(1 << 40) && !set.contains(1 << 40));
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 199]);
    }
}
