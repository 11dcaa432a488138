//! Sizes of guest RAM.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use thiserror::Error;

/// The page size of x86-64, in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// Size of guest RAM in bytes; always a whole, non-zero number of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RamSize(NonZeroU64);

/// Why a size cannot be a size of RAM.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RamSizeError {
    /// Zero.
    #[error("a guest needs memory: 0 bytes were asked for")]
    Zero,
    /// Not a whole number of pages.
    #[error("{0} bytes is not a whole number of 4096-byte pages")]
    Unaligned(u64),
    /// Not a number with an optional unit.
    #[error("{0:?} is not a size: write a number and a unit K, M, G or T, such as 256M")]
    Syntax(String),
    /// Larger than 64 bits of bytes.
    #[error("{0:?} is larger than any memory")]
    TooLarge(String),
}

impl RamSize {
    /// A size of `bytes`.
    ///
    /// # Errors
    /// [`RamSizeError::Zero`], [`RamSizeError::Unaligned`].
    pub fn new(bytes: u64) -> Result<Self, RamSizeError> {
        let size = NonZeroU64::new(bytes).ok_or(RamSizeError::Zero)?;
        if !bytes.is_multiple_of(PAGE_SIZE) {
            return Err(RamSizeError::Unaligned(bytes));
        }
        Ok(Self(size))
    }

    /// A size of `mebibytes` MiB, at least 1.
    pub const fn mebibytes(mebibytes: u32) -> Self {
        let bytes = (mebibytes as u64) << 20;
        match NonZeroU64::new(bytes) {
            Some(size) => Self(size),
            None => Self(
                NonZeroU64::MIN.saturating_mul(match NonZeroU64::new(1 << 20) {
                    Some(one) => one,
                    None => NonZeroU64::MIN,
                }),
            ),
        }
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0.get()
    }
}

impl FromStr for RamSize {
    type Err = RamSizeError;

    fn from_str(text: &str) -> Result<Self, RamSizeError> {
        let trimmed = text.trim();
        let digits = trimmed.trim_end_matches(|c: char| !c.is_ascii_digit());
        let shift = match trimmed
            .get(digits.len()..)
            .unwrap_or("")
            .to_ascii_uppercase()
            .as_str()
        {
            "" | "B" => 0,
            "K" | "KB" | "KIB" => 10,
            "M" | "MB" | "MIB" => 20,
            "G" | "GB" | "GIB" => 30,
            "T" | "TB" | "TIB" => 40,
            _ => return Err(RamSizeError::Syntax(text.to_owned())),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(RamSizeError::Syntax(text.to_owned()));
        }
        let number: u64 = digits
            .parse()
            .map_err(|_| RamSizeError::TooLarge(text.to_owned()))?;
        let bytes = number
            .checked_mul(1 << shift)
            .ok_or_else(|| RamSizeError::TooLarge(text.to_owned()))?;
        Self::new(bytes)
    }
}

impl fmt::Display for RamSize {
    /// The size with the largest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes();
        for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
            if bytes.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", bytes >> shift);
            }
        }
        write!(f, "{bytes}")
    }
}
