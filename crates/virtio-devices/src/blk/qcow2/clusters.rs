//! Sets of clusters.

use std::collections::BTreeMap;

/// A set of clusters. Memory is taken for those that are near each other.
#[derive(Default)]
pub(super) struct Clusters(BTreeMap<u64, Box<[u64; Self::WORDS]>>);

impl Clusters {
    const WORDS: usize = 64;
    const GROUP: u64 = 64 * Self::WORDS as u64;

    /// Adds one; whether it is new.
    pub(super) fn insert(&mut self, cluster: u64) -> bool {
        let group = self.0.entry(cluster / Self::GROUP);
        let words = group.or_insert_with(|| Box::new([0; Self::WORDS]));
        let bit = 1 << (cluster % 64);
        match words.get_mut((cluster % Self::GROUP / 64) as usize) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                true
            }
            _ => false,
        }
    }

    pub(super) fn contains(&self, cluster: u64) -> bool {
        let words = self.0.get(&(cluster / Self::GROUP));
        let word = words.and_then(|words| words.get((cluster % Self::GROUP / 64) as usize));
        word.is_some_and(|word| word & 1 << (cluster % 64) != 0)
    }

    /// All of them, from the first one.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().flat_map(|(group, words)| {
            let first = group * Self::GROUP;
            (first..first + Self::GROUP)
                .zip(
                    words
                        .iter()
                        .flat_map(|word| (0..64).map(move |bit| word >> bit & 1)),
                )
                .filter_map(|(cluster, bit)| (bit != 0).then_some(cluster))
        })
    }
}
