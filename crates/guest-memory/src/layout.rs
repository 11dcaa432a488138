//! Where RAM lies in the guest's physical address space: below and above the 32-bit MMIO hole.

use vm_memory::GuestAddress;

use crate::RamSize;

/// First address of the MMIO hole: 3 GiB. RAM that does not fit below continues at 4 GiB.
pub const MMIO_HOLE_START: GuestAddress = GuestAddress(0xc000_0000);
/// First address after the MMIO hole: 4 GiB.
pub const MMIO_HOLE_END: GuestAddress = GuestAddress(0x1_0000_0000);

/// The ranges of RAM of a guest, lowest first: one, or two around the hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    ranges: Vec<(GuestAddress, u64)>,
}

impl Layout {
    /// The layout of `size` bytes of RAM.
    pub fn of(size: RamSize) -> Self {
        let low = size.bytes().min(MMIO_HOLE_START.0);
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
