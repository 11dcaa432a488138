//! Balloons.

use std::fmt;

use serde::{Deserialize, Serialize};
use vmmkit_guest_memory::RamSize;

use crate::{Fault, Given, Words};

/// A balloon, which returns memory to the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BalloonSpec {
    /// Its size from the start, in MiB.
    pub size_mib: u32,
    /// It stays as it is where the guest runs out of memory.
    pub keep_on_oom: bool,
    /// How often the guest says how its memory is used, in seconds.
    pub stats: Option<u64>,
}

impl BalloonSpec {
    /// Nothing, or `SIZE`, `stats=SECONDS` and `keep-on-oom`.
    ///
    /// # Errors
    /// [`Fault`] says what of it cannot be.
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        let mut words = Words::new(given);
        let keep_on_oom = words.flag("keep-on-oom")?;
        let stats = words.parsed("stats", "a number of seconds", |text| text.parse().ok())?;
        let size_mib = match words.bare() {
            Some(word) => mebibytes(word).ok_or_else(|| Fault::NotASize {
                word: word.to_owned(),
            })?,
            None => 0,
        };
        words.end()?;
        Ok(Self {
            size_mib,
            keep_on_oom,
            stats,
        })
    }
}

/// Whole mebibytes.
fn mebibytes(text: &str) -> Option<u32> {
    let bytes = text.parse::<RamSize>().ok()?.bytes();
    u32::try_from(bytes >> 20).ok()
}

impl fmt::Display for BalloonSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = (self.size_mib > 0).then(|| format!("{}M", self.size_mib));
        let stats = self.stats.map(|seconds| format!("stats={seconds}"));
        let keep = self.keep_on_oom.then(|| "keep-on-oom".to_owned());
        let words: Vec<String> = size.into_iter().chain(stats).chain(keep).collect();
        f.write_str(&words.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balloon_may_be_empty() {
        let parsed = |text| BalloonSpec::parse(&Given::text(text));
        assert_eq!(parsed("").unwrap(), BalloonSpec::default());
        let balloon = parsed("stats=5,64M,keep-on-oom").unwrap();
        assert_eq!((balloon.size_mib, balloon.stats), (64, Some(5)));
        assert_eq!(balloon.to_string(), "64M,stats=5,keep-on-oom");
        for text in ["x", "64M,65M", "stats=x", "free"] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}
