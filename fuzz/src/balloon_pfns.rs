//! Any bytes as the pages of a balloon, whose runs must hold each page once and no other, and as
//! statistics.

use std::collections::BTreeSet;

use vmmkit_virtio_devices::{BalloonPages, BalloonStats};

/// Takes one input.
pub fn run(data: &[u8]) {
    let _ = BalloonStats::parse(data);
    let (numbers, _) = data.as_chunks::<4>();
    let expected: BTreeSet<u32> = numbers.iter().copied().map(u32::from_le_bytes).collect();
    let mut pages = BalloonPages::default();
    let repeated = pages.parse(data);
    assert_eq!(repeated, numbers.len() - expected.len());
    let mut named = expected.iter().copied();
    let mut end = 0;
    for run in pages.runs() {
        assert!(run.start() >= end && run.start() < run.end());
        end = run.end();
        for offset in 0..run.count {
            assert_eq!(Some(run.first + offset), named.next());
        }
    }
    assert_eq!(named.next(), None);
}
