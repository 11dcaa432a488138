//! Sizes of guest RAM.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use thiserror::Error;

/// The page size of x86-64, in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// One mebibyte.
const MEBIBYTE: NonZeroU64 = match NonZeroU64::new(1 << 20) {
    Some(bytes) => bytes,
    None => NonZeroU64::MAX,
};

/// Size of guest RAM in bytes; always a whole, non-zero number of pages.
///
/// As text it is a number with an optional unit, in either case: K, M, G or T, alone or as KB or
/// KiB, always with powers of 1024. Without a unit it is bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RamSize(NonZeroU64);

/// A number of bytes for people: in the largest unit of which there is one, with at most one digit after
/// the point.
///
/// ```
/// use vmmkit_guest_memory::ByteCount;
///
/// assert_eq!(ByteCount(25_276_063_744).to_string(), "23.5 GiB");
/// assert_eq!(ByteCount(512).to_string(), "512 bytes");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteCount(pub u64);

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} bytes", self.0);
        }
        let mut size = self.0 as f64 / 1024.0;
        let mut units = UNITS.into_iter();
        let mut unit = units.next().unwrap_or_default();
        // 1023.95 would be shown as 1024.0.
        while size >= 1023.95 {
            let Some(next) = units.next() else { break };
            (size, unit) = (size / 1024.0, next);
        }
        let number = format!("{size:.1}");
        write!(f, "{} {unit}", number.trim_end_matches(".0"))
    }
}

/// Why a size cannot be a size of RAM.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RamSizeError {
    /// Zero.
    #[error("a guest needs memory: 0 bytes were asked for")]
    Zero,
    /// Not a whole number of pages.
    #[error("{0} bytes is not a whole number of 4096-byte pages{suggestion}", suggestion = suggestion(*.0))]
    Unaligned(u64),
    /// Not a number with an optional unit.
    #[error("{0:?} is not a size: write a number and a unit K, M, G or T, such as 256M")]
    Syntax(String),
    /// A number with a fraction.
    #[error("{0:?} is not a whole number: use the next smaller unit, such as 1536M for 1.5G")]
    Fraction(String),
    /// Less than nothing.
    #[error("{0:?} is negative: a guest needs memory, such as 256M")]
    Negative(String),
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
        match NonZeroU64::new((mebibytes as u64) << 20) {
            Some(bytes) => Self(bytes),
            None => Self(MEBIBYTE),
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
        let syntax = || RamSizeError::Syntax(text.to_owned());
        let trimmed = text.trim();
        let number = trimmed.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = trimmed.get(number.len()..).unwrap_or_default();
        let shift = match unit.trim_start().to_ascii_uppercase().as_str() {
            "" | "B" => 0,
            "K" | "KB" | "KIB" => 10,
            "M" | "MB" | "MIB" => 20,
            "G" | "GB" | "GIB" => 30,
            "T" | "TB" | "TIB" => 40,
            _ => return Err(syntax()),
        };
        let count = parse_count(number).map_err(|make| make(text.to_owned()))?;
        let bytes = count
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

/// The number, or the error to make of the text that it is in.
fn parse_count(number: &str) -> Result<u64, fn(String) -> RamSizeError> {
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
    if is_digits(number) {
        return number
            .parse()
            .map_err(|_| RamSizeError::TooLarge as fn(String) -> RamSizeError);
    }
    if number.strip_prefix('-').is_some_and(is_digits) {
        return Err(RamSizeError::Negative);
    }
    let halves = number.split_once(['.', ',']);
    match halves {
        Some((whole, part)) if is_digits(whole) && is_digits(part) => Err(RamSizeError::Fraction),
        _ => Err(RamSizeError::Syntax),
    }
}

/// The probable meaning of a number of bytes that no one would ask for.
fn suggestion(bytes: u64) -> String {
    if bytes < PAGE_SIZE {
        format!(": did you mean {bytes}M?")
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_are_shown_in_the_unit_that_fits() {
        for (number, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1 MiB"),
            (25_276_063_744, "23.5 GiB"),
            (100 << 40, "100 TiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(ByteCount(number).to_string(), text);
        }
    }

    fn bytes(text: &str) -> u64 {
        text.parse::<RamSize>().unwrap().bytes()
    }

    fn error(text: &str) -> String {
        text.parse::<RamSize>().unwrap_err().to_string()
    }

    #[test]
    fn units_are_powers_of_1024_in_either_case() {
        for text in [
            "256M",
            "256m",
            "256MB",
            "256MiB",
            " 256 M ",
            "262144K",
            "268435456",
        ] {
            assert_eq!(bytes(text), 256 << 20, "{text}");
        }
        assert_eq!((bytes("4G"), bytes("1T")), (4 << 30, 1 << 40));
    }

    #[test]
    fn zero_is_refused_in_every_unit() {
        for text in ["0", "0G", "000M"] {
            assert_eq!(error(text), "a guest needs memory: 0 bytes were asked for");
        }
    }

    #[test]
    fn a_forgotten_unit_is_suggested() {
        assert_eq!(
            error("256"),
            "256 bytes is not a whole number of 4096-byte pages: did you mean 256M?"
        );
        assert_eq!(
            error("5000"),
            "5000 bytes is not a whole number of 4096-byte pages"
        );
        assert_eq!(
            error("5K"),
            "5120 bytes is not a whole number of 4096-byte pages"
        );
    }

    #[test]
    fn a_fraction_is_refused_with_the_way_out() {
        assert_eq!(
            error("1.5G"),
            "\"1.5G\" is not a whole number: use the next smaller unit, such as 1536M for 1.5G"
        );
    }

    #[test]
    fn a_negative_size_is_called_so() {
        assert_eq!(
            error("-1"),
            "\"-1\" is negative: a guest needs memory, such as 256M"
        );
    }

    #[test]
    fn what_is_no_size_is_quoted() {
        for text in [
            "", " ", "M", "256X", "256MM", "+4G", "1e3M", "0x100M", "4G4", "1.G", "٣G", "-",
        ] {
            assert_eq!(
                error(text),
                format!(
                    "{text:?} is not a size: write a number and a unit K, M, G or T, such as 256M"
                )
            );
        }
    }

    #[test]
    fn more_than_64_bits_of_bytes_is_too_large() {
        for text in ["16777216T", "99999999999999999999", "18446744073709551616K"] {
            assert_eq!(error(text), format!("{text:?} is larger than any memory"));
        }
    }

    #[test]
    fn no_mebibytes_are_one() {
        assert_eq!(RamSize::mebibytes(0).bytes(), 1 << 20);
        assert_eq!(RamSize::mebibytes(512).bytes(), 512 << 20);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(pages in 1_u64..1 << 50) {
            let size = RamSize::new(pages * PAGE_SIZE).unwrap();
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,12}") {
            let _ = text.parse::<RamSize>();
        }
    }
}
