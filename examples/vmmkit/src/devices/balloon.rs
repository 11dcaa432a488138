//! `--balloon`.

use std::sync::Arc;
use std::time::Duration;

use vmmkit_guest_memory::RamSize;
use vmmkit_virtio_devices::{Balloon, BalloonConfig};

use super::words::Words;
use super::{Choice, Plan, failed};
use crate::failure::Failure;

const KEYS: &str =
    "give nothing, or SIZE, stats=SECONDS and keep-on-oom, such as --balloon=64M,stats=5";

/// A balloon, as it was asked for.
#[derive(Debug)]
pub(super) struct BalloonChoice {
    text: String,
    config: BalloonConfig,
}

impl BalloonChoice {
    /// `text` is empty for an empty balloon.
    pub(super) fn new(text: &str) -> Result<Self, Failure> {
        let mut words = Words::new("--balloon", text);
        let keeps = words.flag("keep-on-oom")?;
        let stats = words.parsed("stats", "a number of seconds", |text| text.parse().ok())?;
        let size = match words.bare() {
            Some(size) => mebibytes(size)
                .ok_or_else(|| words.wrong(&format!("{size} is not a size"), KEYS))?,
            None => 0,
        };
        words.end(KEYS)?;
        Ok(Self {
            text: text.to_owned(),
            config: BalloonConfig {
                size_mib: size,
                deflate_on_oom: !keeps,
                stats_interval: stats.map(Duration::from_secs),
                ..BalloonConfig::default()
            },
        })
    }
}

/// Whole mebibytes.
fn mebibytes(text: &str) -> Option<u32> {
    let bytes = text.parse::<RamSize>().ok()?.bytes();
    u32::try_from(bytes >> 20).ok()
}

impl Choice for BalloonChoice {
    fn option(&self) -> (&'static str, Option<String>) {
        match self.text.as_str() {
            "" => ("--balloon", None),
            text => ("--balloon", Some(text.to_owned())),
        }
    }

    fn plug(&self, plan: Plan) -> Result<Plan, Failure> {
        let most = plan.ram_size() >> 20;
        if u64::from(self.config.size_mib) >= most {
            return Err(Failure::usage(
                format!("--balloon {}: the guest has {most} MiB in all", self.text),
                "give a smaller size, or more --memory",
            ));
        }
        let next = "free descriptors of this process";
        let balloon = Balloon::new(&self.config)
            .map_err(|error| failed("--balloon", &self.text, &error, next))?;
        Ok(plan.with(Arc::new(balloon)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balloon_may_be_empty() {
        assert_eq!(BalloonChoice::new("").unwrap().config.size_mib, 0);
        let balloon = BalloonChoice::new("stats=5,64M,keep-on-oom")
            .unwrap()
            .config;
        assert_eq!(balloon.size_mib, 64);
        assert_eq!(balloon.stats_interval, Some(Duration::from_secs(5)));
        assert!(!balloon.deflate_on_oom);
        for text in ["x", "64M,65M", "stats=x", "free"] {
            assert!(BalloonChoice::new(text).is_err(), "{text}");
        }
    }
}
