//! The pages that a driver names: numbers in any order, made into runs.

use super::spec;

/// Pages that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRun {
    /// The number of the first.
    pub first: u32,
    /// How many there are; at least 1.
    pub count: u32,
}

impl PageRun {
    /// The address of the first byte.
    pub fn start(self) -> u64 {
        u64::from(self.first) * spec::PAGE
    }

    /// The address after the last byte.
    pub fn end(self) -> u64 {
        self.start() + u64::from(self.count) * spec::PAGE
    }
}

/// The pages of one piece of a message (virtio 1.2, section 5.5.6). It is filled again and again, and
/// grows no more once it has held the largest.
#[derive(Clone, Debug, Default)]
pub struct BalloonPages {
    numbers: Vec<u32>,
}

impl BalloonPages {
    /// Takes the numbers in `bytes`, in place of what was there; how many of them were there more
    /// than once. A rest of fewer than 4 bytes is left out.
    pub fn parse(&mut self, bytes: &[u8]) -> usize {
        self.numbers.clear();
        let (numbers, _) = bytes.as_chunks::<{ spec::PFN_SIZE }>();
        self.numbers
            .extend(numbers.iter().copied().map(u32::from_le_bytes));
        let named = self.numbers.len();
        self.numbers.sort_unstable();
        self.numbers.dedup();
        named - self.numbers.len()
    }

    /// The pages as runs, lowest first; as few as there can be.
    pub fn runs(&self) -> impl Iterator<Item = PageRun> {
        let follows = |a: &u32, b: &u32| a.checked_add(1) == Some(*b);
        self.numbers.chunk_by(follows).filter_map(|run| {
            Some(PageRun {
                first: *run.first()?,
                count: u32::try_from(run.len()).ok()?,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn bytes(numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|it| it.to_le_bytes()).collect()
    }

    fn run(first: u32, count: u32) -> PageRun {
        PageRun { first, count }
    }

    #[test]
    fn pages_in_any_order_become_runs() {
        let mut pages = BalloonPages::default();
        let repeated = pages.parse(&bytes(&[7, 5, 6, 100, u32::MAX, 5, 5]));
        assert_eq!(repeated, 2);
        let runs: Vec<_> = pages.runs().collect();
        assert_eq!(runs, [run(5, 3), run(100, 1), run(u32::MAX, 1)]);
        assert_eq!((runs[0].start(), runs[0].end()), (0x5000, 0x8000));
        assert_eq!(runs[2].end(), 1 << 44);
    }

    #[test]
    fn what_is_not_a_whole_number_is_left_out() {
        let mut pages = BalloonPages::default();
        pages.parse(&[1, 0, 0, 0, 9, 9, 9]);
        assert_eq!(pages.runs().collect::<Vec<_>>(), [run(1, 1)]);
        pages.parse(&[]);
        assert_eq!(pages.runs().count(), 0);
    }

    proptest! {
        #[test]
        fn runs_hold_each_page_once(numbers in prop::collection::vec(0_u32..300, 0..200)) {
            let mut pages = BalloonPages::default();
            let repeated = pages.parse(&bytes(&numbers));
            let set: BTreeSet<_> = numbers.iter().copied().collect();
            let runs: Vec<_> = pages.runs().collect();
            let named: Vec<_> = runs.iter().flat_map(|it| it.first..it.first + it.count).collect();
            prop_assert_eq!(named, set.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(repeated, numbers.len() - set.len());
            for pair in runs.windows(2) {
                prop_assert!(pair[0].first + pair[0].count < pair[1].first);
            }
        }
    }
}
