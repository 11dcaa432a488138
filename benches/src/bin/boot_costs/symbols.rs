//! Names of a kernel's functions by address.

use std::collections::BTreeMap;
use std::fs;
use std::io;

/// Functions by the address they start at.
#[derive(Default)]
pub(crate) struct Symbols(BTreeMap<u64, String>);

impl Symbols {
    /// Reads `ADDRESS TYPE NAME` lines; others are passed over.
    pub(crate) fn read(path: &str) -> io::Result<Self> {
        let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
        let line = |line: &str| {
            let mut words = line.split_whitespace();
            let address = words.next().filter(|word| word.len() == 16)?;
            let address = u64::from_str_radix(address, 16).ok()?;
            let kind = words.next()?;
            "tTwW"
                .contains(kind)
                .then(|| words.next().map(|name| (address, name.to_owned())))?
        };
        Ok(Self(text.lines().filter_map(line).collect()))
    }

    /// The functions that `samples` lie in, most frequent first.
    pub(crate) fn hottest(&self, samples: &[u64]) -> Vec<(String, usize)> {
        let mut counts = BTreeMap::<&str, usize>::new();
        for &rip in samples {
            let function = match rip >> 47 {
                0 => "(ring 3)",
                _ => self
                    .0
                    .range(..=rip)
                    .next_back()
                    .map_or("?", |(_, name)| name),
            };
            *counts.entry(function).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().map(|(n, c)| (n.to_owned(), c)).collect();
        counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        counts
    }
}
