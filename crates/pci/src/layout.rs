//! Where PCI is in the guest's physical address space.

use vmmkit_device_bus::AddressRange;

use crate::spec::ECAM_BUS;

/// Where PCI is in the guest's physical address space. The default lies in the hole below 4 GiB,
/// clear of the interrupt controllers (0xfec0_0000 on) and of what is below 0xe000_0000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciLayout {
    /// The configuration spaces of bus 0: 1 MiB.
    pub ecam: AddressRange,
    /// Where base addresses are placed.
    pub window: AddressRange,
}

impl Default for PciLayout {
    /// ECAM at 3.5 GiB, base addresses in the 128 MiB from 0xe800_0000.
    fn default() -> Self {
        Self {
            ecam: AddressRange::new(0xe000_0000, ECAM_BUS),
            window: AddressRange::new(0xe800_0000, 128 << 20),
        }
    }
}

impl PciLayout {
    /// The lowest place for `size` bytes, a power of 2, that overlaps none of `taken`.
    pub(crate) fn place(&self, taken: &[AddressRange], size: u64) -> Option<AddressRange> {
        let last = self.window.last()?;
        let mut base = self.window.base;
        loop {
            base = base.checked_next_multiple_of(size)?;
            let range = AddressRange::new(base, size);
            if range.last()? > last {
                return None;
            }
            match taken.iter().find(|taken| taken.overlaps(&range)) {
                Some(taken) => base = taken.last()?.checked_add(1)?,
                None => return Some(range),
            }
        }
    }
}
