//! How much a device may do a second.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};
use vmmkit_guest_memory::RamSize;

use crate::{Fault, Words};

/// Limits of a flow of requests or packets; none where there is no number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RateSpec {
    /// Bytes a second.
    pub bandwidth: Option<NonZeroU64>,
    /// Requests or packets a second.
    pub operations: Option<NonZeroU64>,
}

impl RateSpec {
    /// Takes `bandwidth=BYTES`, and the other limit by its key in the words of the device.
    pub(crate) fn take(
        words: &mut Words<'_>,
        key: &'static str,
        wanted: &'static str,
    ) -> Result<Self, Fault> {
        let bytes = "bytes a second, such as 64M";
        Ok(Self {
            bandwidth: words.parsed("bandwidth", bytes, per_second)?,
            operations: words.parsed(key, wanted, per_second)?,
        })
    }

    /// Its words.
    pub(crate) fn words(&self, key: &str) -> impl Iterator<Item = String> {
        let bandwidth = self.bandwidth.map(|bytes| match RamSize::new(bytes.get()) {
            Ok(size) => format!("bandwidth={size}"),
            Err(_) => format!("bandwidth={bytes}"),
        });
        let operations = self.operations.map(|count| format!("{key}={count}"));
        bandwidth.into_iter().chain(operations)
    }
}

/// A number, or a size in bytes with its unit; more than none.
pub fn per_second(text: &str) -> Option<NonZeroU64> {
    let number = text.parse().ok();
    let number = number.or_else(|| Some(text.parse::<RamSize>().ok()?.bytes()))?;
    NonZeroU64::new(number)
}
