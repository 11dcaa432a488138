//! Where RAM lies in the guest's physical address space: below and above the 32-bit MMIO hole.

use vm_memory::GuestAddress;

use crate::{PAGE_SIZE, RamSize};

/// First address of the MMIO hole: 3 GiB. RAM that does not fit below continues at 4 GiB. The hole
/// holds what a PC has at fixed places (I/O APIC at 0xfec0_0000, local APICs at 0xfee0_0000) and
/// the windows of devices.
pub const MMIO_HOLE_START: GuestAddress = GuestAddress(0xc000_0000);
/// First address after the MMIO hole: 4 GiB.
pub const MMIO_HOLE_END: GuestAddress = GuestAddress(0x1_0000_0000);

/// The ranges of RAM of a guest, lowest first: one, or two around the hole. Each is a memory slot
/// of the hypervisor and, less what firmware keeps below 1 MiB, a usable range of the e820 map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    ranges: Vec<(GuestAddress, u64)>,
}

impl Layout {
    /// The layout of `size` bytes of RAM around the whole hole.
    pub fn of(size: RamSize) -> Self {
        Self::around(size, MMIO_HOLE_START)
    }

    /// The layout of `size` bytes of RAM around a hole that begins at `start`, which is rounded down to a page: one
    /// page at the lowest, and [`MMIO_HOLE_START`] at the highest.
    pub fn around(size: RamSize, start: GuestAddress) -> Self {
        let start = (start.0 & !(PAGE_SIZE - 1)).clamp(PAGE_SIZE, MMIO_HOLE_START.0);
        let low = size.bytes().min(start);
        let mut ranges = vec![(GuestAddress(0), low)];
        if size.bytes() > low {
            ranges.push((MMIO_HOLE_END, size.bytes() - low));
        }
        Self { ranges }
    }

    /// Start and size in bytes of each range, lowest first.
    pub fn ranges(&self) -> &[(GuestAddress, u64)] {
        &self.ranges
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ram_up_to_the_hole_is_one_range() {
        let layout = Layout::of(RamSize::mebibytes(3072));
        assert_eq!(layout.ranges(), [(GuestAddress(0), 3 << 30)]);
    }

    #[test]
    fn a_larger_hole_begins_lower() {
        let layout = |start| Layout::around(RamSize::mebibytes(3072), GuestAddress(start));
        let high = GuestAddress(4 << 30);
        for start in [2 << 30, (2 << 30) + 4095] {
            let ranges = [(GuestAddress(0), 2 << 30), (high, 1 << 30)];
            assert_eq!(layout(start).ranges(), ranges);
        }
        assert_eq!(layout(0).ranges()[0].1, PAGE_SIZE);
        assert_eq!(layout(u64::MAX), Layout::of(RamSize::mebibytes(3072)));
    }

    #[test]
    fn one_page_more_goes_above_the_hole() {
        let layout = Layout::of(RamSize::new((3 << 30) + PAGE_SIZE).unwrap());
        assert_eq!(
            layout.ranges(),
            [
                (GuestAddress(0), 3 << 30),
                (GuestAddress(4 << 30), PAGE_SIZE)
            ]
        );
    }

    proptest! {
        #[test]
        fn ranges_hold_all_of_ram_and_none_of_the_hole(pages in 1_u64..1 << 40, start in any::<u64>()) {
            let size = RamSize::new(pages * PAGE_SIZE).unwrap();
            let layout = Layout::around(size, GuestAddress(start));
            prop_assert_eq!(layout.ranges().iter().map(|range| range.1).sum::<u64>(), size.bytes());
            for &(start, length) in layout.ranges() {
                prop_assert!(length > 0 && length % PAGE_SIZE == 0);
                let end = start.0 + length;
                prop_assert!(end <= MMIO_HOLE_START.0 || start.0 >= MMIO_HOLE_END.0);
            }
        }
    }
}
