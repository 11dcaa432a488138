//! Counts over time, in a bounded space.

use std::collections::BTreeMap;
use std::time::Duration;

#[cfg(feature = "json")]
use serde::ser::{Serialize, SerializeMap, Serializer};

#[cfg(feature = "json")]
use super::microseconds;

/// The most bins; then two become one.
const MAX: usize = 512;
/// How long a bin is at first.
const FIRST: Duration = Duration::from_millis(1);

/// How much each of several counters grew in each interval of time. The intervals double as often as
/// it takes for all of them to be 512 at most.
#[derive(Clone, Debug)]
pub struct Bins {
    interval: Duration,
    series: BTreeMap<String, Series>,
}

#[derive(Clone, Debug, Default)]
struct Series {
    /// The counter's value when it was last looked at.
    seen: u64,
    bins: Vec<u64>,
}

impl Default for Bins {
    fn default() -> Self {
        Self {
            interval: FIRST,
            series: BTreeMap::new(),
        }
    }
}

impl Bins {
    /// How long each bin is; who samples need not look more often.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// At `at`, the counter `name` is at `value`.
    pub fn sample(&mut self, at: Duration, name: &str, value: u64) {
        while self.index(at) >= MAX {
            self.double();
        }
        let index = self.index(at);
        if !self.series.contains_key(name) {
            self.series.insert(name.to_owned(), Series::default());
        }
        if let Some(series) = self.series.get_mut(name) {
            let more = value.saturating_sub(series.seen);
            series.seen = value;
            if more > 0 {
                series.add(index, more);
            }
        }
    }

    /// The counters with what they grew by in each bin from the start on, the busiest first.
    pub fn series(&self) -> Vec<(&str, &[u64])> {
        let mut all: Vec<_> = self.series.iter().filter(|(_, s)| s.seen > 0).collect();
        all.sort_by_key(|(_, series)| std::cmp::Reverse(series.seen));
        all.into_iter()
            .map(|(name, series)| (name.as_str(), series.bins.as_slice()))
            .collect()
    }

    fn index(&self, at: Duration) -> usize {
        let index = at.as_nanos() / self.interval.as_nanos().max(1);
        usize::try_from(index).unwrap_or(usize::MAX)
    }

    fn double(&mut self) {
        self.interval = self.interval.saturating_mul(2);
        for series in self.series.values_mut() {
            let pairs = series.bins.chunks(2).map(|pair| pair.iter().sum());
            series.bins = pairs.collect();
        }
    }
}

impl Series {
    fn add(&mut self, index: usize, more: u64) {
        if self.bins.len() <= index {
            self.bins.resize(index + 1, 0);
        }
        if let Some(bin) = self.bins.get_mut(index) {
            *bin += more;
        }
    }
}

#[cfg(feature = "json")]
impl Serialize for Bins {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("interval_us", &microseconds(self.interval))?;
        map.serialize_entry("devices", &All(self))?;
        map.end()
    }
}

#[cfg(feature = "json")]
struct All<'a>(&'a Bins);

#[cfg(feature = "json")]
impl Serialize for All<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.series())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn growth_falls_into_the_bin_of_its_time() {
        let mut bins = Bins::default();
        bins.sample(at(0), "serial", 5);
        bins.sample(at(2), "serial", 5);
        bins.sample(at(3), "serial", 9);
        bins.sample(at(3), "cmos", 1);
        assert_eq!(
            bins.series(),
            [("serial", &[5, 0, 0, 4][..]), ("cmos", &[0, 0, 0, 1][..])]
        );
    }

    #[test]
    fn a_long_run_takes_no_more_room_and_loses_nothing() {
        let mut bins = Bins::default();
        for step in 0..10_000 {
            bins.sample(at(step * 7), "serial", step);
        }
        let (_, counts) = bins.series()[0];
        assert!(counts.len() <= 512 && counts.len() > 256);
        assert_eq!(counts.iter().sum::<u64>(), 9_999);
        assert_eq!(bins.interval(), at(256));
        bins.sample(Duration::MAX, "serial", 20_000);
        assert!(bins.series()[0].1.len() <= 512);
    }
}
