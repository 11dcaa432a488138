//! Memory that a guest may get while it runs: an area of addresses above RAM, whose blocks a device
//! plugs (virtio-mem).

use vm_memory::GuestAddress;

use crate::{Backing, GuestRam, MMIO_HOLE_END, RamConfig, RamError, RamSize, host, mapping};

/// Bytes that are plugged and given back together: 2 MiB, a huge page of x86-64.
pub const BLOCK_SIZE: u64 = 2 << 20;
/// Alignment of the area's start: guests add memory by much more than a block at a time (Linux
/// by 128 MiB, or 2 GiB where there is much).
const ALIGNMENT: u64 = 1 << 30;

impl RamConfig {
    /// Where memory may be plugged: address and size in bytes. `None` without a
    /// [`max`](Self::max), or where that is out of all reason, which
    /// [`GuestRam::pluggable`] refuses.
    pub fn plug_area(&self) -> Option<(GuestAddress, u64)> {
        let size = self.max?.bytes().checked_sub(self.size.bytes())?;
        let layout = self.layout();
        let ends = layout.ranges().iter().map(|(start, size)| start.0 + size);
        let end = ends.max()?.max(MMIO_HOLE_END.0);
        let start = end.checked_next_multiple_of(ALIGNMENT)?;
        start.checked_add(size)?;
        let is_whole = size > 0 && size.is_multiple_of(BLOCK_SIZE);
        is_whole.then_some((GuestAddress(start), size))
    }

    /// The slot of the area: the first that RAM has not.
    fn plug_slot(&self) -> u32 {
        if self.layout().ranges().len() > 1 {
            2
        } else {
            1
        }
    }
}

impl GuestRam {
    /// Maps what may be plugged into a guest that has the RAM of `config`, if that has a
    /// [`max`](RamConfig::max): all of it at once, as memory of its own, of the same kind as RAM. A
    /// hypervisor takes it as it takes RAM. It costs the host nothing until it is touched, and
    /// [`discard`](Self::discard) gives it back.
    ///
    /// Core dumps leave it out as they do RAM, and pages without access lie on both sides. It is not
    /// prefaulted.
    ///
    /// # Errors
    /// [`RamError`] names the sizes, or the host's reason.
    ///
    /// ```
    /// use vmmkit_guest_memory::{BLOCK_SIZE, GuestAddress, GuestRam, RamConfig};
    ///
    /// let config = RamConfig { max: Some("1G".parse()?), ..RamConfig::default() };
    /// let area = GuestRam::pluggable(&config)?.ok_or("there is a max")?;
    /// assert_eq!(config.plug_area(), Some((GuestAddress(4 << 30), 768 << 20)));
    /// area.write(GuestAddress(4 << 30), 7_u64)?;
    /// area.discard(GuestAddress(4 << 30), BLOCK_SIZE)?;
    /// assert_eq!(area.read::<u64>(GuestAddress(4 << 30))?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pluggable(config: &RamConfig) -> Result<Option<Self>, RamError> {
        let Some(max) = config.max else {
            return Ok(None);
        };
        let wrong = || RamError::Max {
            size: config.size.bytes(),
            max: max.bytes(),
        };
        if !matches!(config.backing, Backing::Anonymous | Backing::Memfd) {
            return Err(RamError::MaxBacking);
        }
        let (address, size) = config.plug_area().ok_or_else(wrong)?;
        host::check_capacity(config)?;
        let slot = config.plug_slot();
        let config = RamConfig {
            size: RamSize::new(size).map_err(|_| wrong())?,
            max: None,
            prefault: false,
            ..config.clone()
        };
        let source = crate::backing::open(&config)?;
        let (mapping, guards) = mapping::map(&config, &source, 0, size)?;
        let place = (slot, address);
        let area = Self::beside(place, mapping, guards, source.pages);
        area.map(Some).map_err(|_| RamError::AddressSpace { size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(mebibytes: u32, max: u32) -> RamConfig {
        RamConfig {
            size: RamSize::mebibytes(mebibytes),
            max: Some(RamSize::mebibytes(max)),
            ..RamConfig::default()
        }
    }

    #[test]
    fn the_area_lies_above_ram_and_the_hole() {
        let area = |size, max| config(size, max).plug_area().unwrap();
        assert_eq!(area(256, 1024), (GuestAddress(4 << 30), 768 << 20));
        assert_eq!(area(3072, 3074), (GuestAddress(4 << 30), 2 << 20));
        assert_eq!(area(3584, 4096), (GuestAddress(5 << 30), 512 << 20));
        assert_eq!(RamConfig::default().plug_area(), None);
        let slots = [256, 3584].map(|size| config(size, 8192).plug_slot());
        assert_eq!(slots, [1, 2]);
    }

    #[test]
    fn a_max_that_cannot_be_is_refused() {
        let page = crate::PAGE_SIZE;
        let (ram, huge) = (256 << 20, u64::MAX - u64::MAX % page);
        for max in [ram, ram - page, ram + page, ram + BLOCK_SIZE - page, huge] {
            let config = RamConfig {
                max: Some(RamSize::new(max).unwrap()),
                ..RamConfig::default()
            };
            let error = GuestRam::pluggable(&config).unwrap_err();
            assert!(matches!(error, RamError::Max { .. }), "{max}: {error}");
        }
        let config = RamConfig {
            backing: Backing::HugeTlb(2 << 20),
            ..config(256, 512)
        };
        let error = GuestRam::pluggable(&config).unwrap_err();
        assert!(matches!(error, RamError::MaxBacking), "{error}");
    }

    #[test]
    fn what_is_given_back_leaves_the_process_also_where_ram_was_prefaulted() {
        for backing in [Backing::Anonymous, Backing::Memfd] {
            let config = RamConfig {
                backing: backing.clone(),
                prefault: true,
                ..config(2, 18)
            };
            let area = GuestRam::pluggable(&config).unwrap().unwrap();
            let resident = || crate::ram::tests::resident_kibibytes(&area.regions()[0]) << 10;
            assert_eq!(resident(), 0, "{backing:?}");
            let (start, size) = config.plug_area().unwrap();
            area.fill(start, size as usize, 0xaa).unwrap();
            assert_eq!(resident(), size, "{backing:?}");
            let all = GuestRam::new(&config).unwrap().joined(&area).unwrap();
            let second = GuestAddress(start.0 + BLOCK_SIZE);
            assert_eq!(all.discard(second, BLOCK_SIZE), Ok(BLOCK_SIZE));
            assert_eq!(resident(), size - BLOCK_SIZE, "{backing:?}");
            let at = |address| all.read::<u8>(GuestAddress(address)).unwrap();
            assert_eq!((at(second.0 - 1), at(second.0)), (0xaa, 0));
            // RAM has its own pages: paid for, and never given back.
            assert_eq!(all.discard(GuestAddress(0), BLOCK_SIZE), Ok(0));
        }
    }
}
