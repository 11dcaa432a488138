//! Ranges of addresses.

use std::fmt;

/// A range of ports or of guest-physical addresses. Any two numbers make one; a bus refuses what
/// is empty or ends outside its space when it is plugged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressRange {
    /// The first address.
    pub base: u64,
    /// How many addresses.
    pub length: u64,
}

impl AddressRange {
    /// The `length` addresses from `base`.
    pub const fn new(base: u64, length: u64) -> Self {
        Self { base, length }
    }

    /// The last address; `None` for an empty range and for one that ends past 64 bits.
    pub const fn last(&self) -> Option<u64> {
        match self.length.checked_sub(1) {
            Some(steps) => self.base.checked_add(steps),
            None => None,
        }
    }

    /// Whether `address` is in the range.
    #[inline]
    pub const fn contains(&self, address: u64) -> bool {
        address >= self.base && address - self.base < self.length
    }

    /// Whether any address is in both ranges.
    pub const fn overlaps(&self, other: &Self) -> bool {
        match (self.last(), other.last()) {
            (Some(last), Some(other_last)) => self.base <= other_last && other.base <= last,
            _ => false,
        }
    }
}

impl fmt::Display for AddressRange {
    /// First and last address: `0x3f8-0x3ff`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last() {
            Some(last) => write!(f, "{:#x}-{last:#x}", self.base),
            None => write!(f, "{:#x}+{:#x}", self.base, self.length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_do_not_overlap() {
        assert!(!AddressRange::new(0, 8).overlaps(&AddressRange::new(8, 8)));
        assert!(AddressRange::new(0, 9).overlaps(&AddressRange::new(8, 8)));
    }

    #[test]
    fn a_range_may_end_with_the_last_address() {
        let range = AddressRange::new(u64::MAX, 1);
        assert_eq!(range.last(), Some(u64::MAX));
        assert!(range.contains(u64::MAX));
        assert_eq!(AddressRange::new(u64::MAX, 2).last(), None);
    }

    #[test]
    fn an_empty_range_has_no_last_address_and_overlaps_nothing() {
        let empty = AddressRange::new(4, 0);
        assert_eq!(empty.last(), None);
        assert!(!empty.contains(4));
        assert!(!empty.overlaps(&AddressRange::new(0, 8)));
    }

    #[test]
    fn ranges_are_written_with_both_ends() {
        assert_eq!(AddressRange::new(0x3f8, 8).to_string(), "0x3f8-0x3ff");
    }
}
