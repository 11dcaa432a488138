//! A range of RAM that is looked up once: what is read and written all the time, a ring for
//! instance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use vm_memory::VolatileMemory;
use vm_memory::bitmap::Bitmap;

use crate::mapping::Mapping;
use crate::{AccessError, GuestAddress, GuestRam};

/// A range of RAM, borrowed. Its accesses are single loads and stores, little-endian as the host is;
/// one that is not wholly inside the range or not aligned to its size is `None` and does nothing.
#[derive(Clone, Copy, Debug)]
pub struct RamView<'a> {
    mapping: &'a Mapping,
    offset: usize,
    length: usize,
}

/// A range of RAM that keeps the RAM alive.
#[derive(Clone, Debug)]
pub struct RamWindow {
    mapping: Arc<Mapping>,
    offset: usize,
    length: usize,
}

impl GuestRam {
    /// The `length` bytes at `address`.
    ///
    /// # Errors
    /// [`AccessError`] where they are not wholly inside RAM.
    #[inline]
    pub fn view(&self, address: GuestAddress, length: usize) -> Result<RamView<'_>, AccessError> {
        let (mapping, offset) = self.range(address, length)?;
        Ok(RamView {
            mapping,
            offset,
            length,
        })
    }

    /// The `length` bytes at `address`, to keep.
    ///
    /// # Errors
    /// [`AccessError`] where they are not wholly inside RAM.
    pub fn window(&self, address: GuestAddress, length: usize) -> Result<RamWindow, AccessError> {
        let (mapping, offset) = self.shared_range(address, length)?;
        Ok(RamWindow {
            mapping: mapping.clone(),
            offset,
            length,
        })
    }
}

impl RamWindow {
    /// The window, borrowed.
    #[inline]
    pub fn view(&self) -> RamView<'_> {
        RamView {
            mapping: &self.mapping,
            offset: self.offset,
            length: self.length,
        }
    }
}

/// A load and a store of one width.
macro_rules! width {
    ($load:ident, $store:ident, $integer:ty, $atomic:ty) => {
        /// The value at `offset`. Release and AcqRel are taken as Relaxed.
        #[inline]
        pub fn $load(&self, offset: usize, order: Ordering) -> Option<$integer> {
            // Ordering: the caller's, as far as a load has it.
            let order = match order {
                Ordering::Acquire | Ordering::SeqCst => order,
                _ => Ordering::Relaxed,
            };
            let cell = self.at(offset, size_of::<$integer>())?;
            let cell = self.mapping.get_atomic_ref::<$atomic>(cell).ok()?;
            Some(cell.load(order))
        }

        /// Makes the value at `offset` another. Acquire and AcqRel are taken as Relaxed.
        #[inline]
        pub fn $store(&self, offset: usize, value: $integer, order: Ordering) -> Option<()> {
            // Ordering: the caller's, as far as a store has it.
            let order = match order {
                Ordering::Release | Ordering::SeqCst => order,
                _ => Ordering::Relaxed,
            };
            let place = self.at(offset, size_of::<$integer>())?;
            let cell = self.mapping.get_atomic_ref::<$atomic>(place).ok()?;
            cell.store(value, order);
            self.mapping
                .bitmap()
                .mark_dirty(place, size_of::<$integer>());
            Some(())
        }
    };
}

impl RamView<'_> {
    width!(load_u16, store_u16, u16, AtomicU16);
    width!(load_u32, store_u32, u32, AtomicU32);
    width!(load_u64, store_u64, u64, AtomicU64);

    /// Bytes in the range.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether the range has no byte.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Where in the mapping `size` bytes at `offset` of the range are.
    #[inline]
    fn at(&self, offset: usize, size: usize) -> Option<usize> {
        let end = offset.checked_add(size)?;
        (end <= self.length).then_some(self.offset + offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RamConfig, RamSize};

    fn ram() -> GuestRam {
        GuestRam::new(&RamConfig {
            size: RamSize::mebibytes(1),
            dirty_log: true,
            ..RamConfig::default()
        })
        .unwrap()
    }

    #[test]
    fn a_window_reads_and_writes_what_is_at_its_address() {
        let ram = ram();
        let window = ram.window(GuestAddress(0x1000), 16).unwrap();
        let view = window.view();
        view.store_u16(2, 0x1234, Ordering::Release).unwrap();
        view.store_u64(8, u64::MAX, Ordering::Relaxed).unwrap();
        assert_eq!(ram.read::<u16>(GuestAddress(0x1002)), Ok(0x1234));
        assert_eq!(view.load_u32(0, Ordering::Acquire), Some(0x1234_0000));
        assert_eq!(view.load_u64(8, Ordering::SeqCst), Some(u64::MAX));
        let mut log = Vec::new();
        ram.take_dirty_pages(0, &mut log);
        assert_eq!(log[0], 1 << 1);
    }

    #[test]
    fn nothing_outside_it_or_unaligned_is_reached() {
        let ram = ram();
        let view = ram.view(GuestAddress(0x1000), 6).unwrap();
        assert_eq!((view.len(), view.is_empty()), (6, false));
        assert_eq!(view.load_u16(4, Ordering::Relaxed), Some(0));
        assert_eq!(view.load_u16(5, Ordering::Relaxed), None);
        assert_eq!(view.load_u16(3, Ordering::Relaxed), None);
        assert_eq!(view.load_u32(4, Ordering::Relaxed), None);
        assert_eq!(view.store_u64(0, 1, Ordering::Relaxed), None);
        assert_eq!(view.store_u16(usize::MAX, 1, Ordering::Relaxed), None);
        assert!(ram.view(GuestAddress((1 << 20) - 5), 6).is_err());
        assert!(ram.window(GuestAddress(1 << 20), 1).is_err());
    }
}
