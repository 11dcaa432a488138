//! Memory statistics of a guest.

use std::time::Duration;

use vmmkit_telemetry::Tree;

use super::spec::{self, tag};

/// Memory statistics of a guest (virtio 1.2, section 5.5.6.4); `None` for those it does not send.
/// None of it can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BalloonStats {
    /// Bytes swapped in.
    pub swap_in: Option<u64>,
    /// Bytes swapped out to disk.
    pub swap_out: Option<u64>,
    /// Page faults that waited for the disk.
    pub major_faults: Option<u64>,
    /// Page faults that did not.
    pub minor_faults: Option<u64>,
    /// Bytes of memory that is used for nothing.
    pub free_memory: Option<u64>,
    /// Bytes of memory that there are.
    pub total_memory: Option<u64>,
    /// Bytes of memory that a new program could have without swapping.
    pub available_memory: Option<u64>,
    /// Bytes of memory that can be had back quickly: caches of files.
    pub disk_caches: Option<u64>,
    /// Huge pages that were had.
    pub huge_page_allocations: Option<u64>,
    /// Huge pages that could not be had.
    pub huge_page_failures: Option<u64>,
}

/// Statistics and how old they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BalloonReport {
    /// Time since they came.
    pub age: Duration,
    /// The statistics.
    pub stats: BalloonStats,
}

impl BalloonReport {
    /// The statistics, all of them gauges: a guest may say anything.
    pub(super) fn tree(&self) -> Tree {
        let stats = &self.stats;
        let tree = Tree::new().gauge("age_seconds", self.age.as_secs());
        let said = [
            ("swap_in", stats.swap_in),
            ("swap_out", stats.swap_out),
            ("major_faults", stats.major_faults),
            ("minor_faults", stats.minor_faults),
            ("free_memory", stats.free_memory),
            ("total_memory", stats.total_memory),
            ("available_memory", stats.available_memory),
            ("disk_caches", stats.disk_caches),
            ("huge_page_allocations", stats.huge_page_allocations),
            ("huge_page_failures", stats.huge_page_failures),
        ];
        let said = said.into_iter();
        let said = said.filter_map(|(name, value)| Some((name, value?)));
        said.fold(tree, |tree, (name, value)| tree.gauge(name, value))
    }
}

impl BalloonStats {
    /// The statistics in `bytes`. Tags that are not known are left out, as 5.5.6.3 wants it, and so is
    /// an end that is not a whole statistic; of two with one tag the last counts.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut stats = Self::default();
        let (entries, _) = bytes.as_chunks::<{ spec::STAT_SIZE }>();
        for [a, b, value @ ..] in entries {
            let value = Some(u64::from_le_bytes(*value));
            match u16::from_le_bytes([*a, *b]) {
                tag::SWAP_IN => stats.swap_in = value,
                tag::SWAP_OUT => stats.swap_out = value,
                tag::MAJFLT => stats.major_faults = value,
                tag::MINFLT => stats.minor_faults = value,
                tag::MEMFREE => stats.free_memory = value,
                tag::MEMTOT => stats.total_memory = value,
                tag::AVAIL => stats.available_memory = value,
                tag::CACHES => stats.disk_caches = value,
                tag::HTLB_PGALLOC => stats.huge_page_allocations = value,
                tag::HTLB_PGFAIL => stats.huge_page_failures = value,
                _ => {}
            }
        }
        stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(tag: u16, value: u64) -> Vec<u8> {
        [&tag.to_le_bytes()[..], &value.to_le_bytes()].concat()
    }

    #[test]
    fn statistics_are_told_by_their_tags() {
        let bytes: Vec<u8> = (0..10)
            .flat_map(|tag| entry(tag, 100 + u64::from(tag)))
            .collect();
        let stats = BalloonStats::parse(&bytes);
        let expected = BalloonStats {
            swap_in: Some(100),
            swap_out: Some(101),
            major_faults: Some(102),
            minor_faults: Some(103),
            free_memory: Some(104),
            total_memory: Some(105),
            available_memory: Some(106),
            disk_caches: Some(107),
            huge_page_allocations: Some(108),
            huge_page_failures: Some(109),
        };
        assert_eq!(stats, expected);
    }

    #[test]
    fn what_is_not_known_or_not_whole_is_left_out() {
        let mut bytes = entry(4, 1);
        bytes.extend(entry(999, 2));
        bytes.extend(entry(4, 3));
        bytes.extend([5, 0, 1]);
        let expected = BalloonStats {
            free_memory: Some(3),
            ..BalloonStats::default()
        };
        assert_eq!(BalloonStats::parse(&bytes), expected);
        assert_eq!(BalloonStats::parse(&[]), BalloonStats::default());
    }
}
