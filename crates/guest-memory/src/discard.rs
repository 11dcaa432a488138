//! Giving pages back to the host.

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
use vm_memory::bitmap::Bitmap;

use crate::backing::Pages;
use crate::mapping::Mapping;
use crate::{AccessError, GuestAddress, GuestRam, PAGE_SIZE};

impl GuestRam {
    /// Gives the whole pages of the `length` bytes at `address` back to the host; returns how many
    /// bytes that were. What they held is lost: they are zero when they are touched again. Pages that
    /// cannot be given back (prefault, huge pages, a mapped file, a file system that cannot punch
    /// holes) keep what they hold and are not counted.
    ///
    /// # Errors
    /// [`AccessError`] where the range is not wholly inside RAM.
    pub fn discard(&self, address: GuestAddress, length: u64) -> Result<u64, AccessError> {
        let outside = AccessError {
            address: address.0,
            length: usize::MAX,
        };
        let length = usize::try_from(length).map_err(|_| outside)?;
        let (mapping, offset) = self.range(address, length)?;
        let page = PAGE_SIZE as usize;
        let end = offset + length;
        let first_page = offset.next_multiple_of(page);
        let whole = (end - end % page).saturating_sub(first_page);
        if whole == 0 || !drop_pages(self.pages(address), mapping, first_page, whole) {
            return Ok(0);
        }
        mapping.bitmap().mark_dirty(first_page, whole);
        Ok(whole as u64)
    }
}

/// Makes the whole pages from `offset` zero by giving them back; `false` where the host cannot, or
/// where they are not inside `mapping`.
pub(crate) fn drop_pages(pages: Pages, mapping: &Mapping, offset: usize, length: usize) -> bool {
    let is_inside = offset
        .checked_add(length)
        .is_some_and(|end| end <= mapping.size());
    if !is_inside {
        return false;
    }
    let start = mapping.as_ptr().wrapping_add(offset);
    let advice = match pages {
        Pages::Private => Advice::LinuxDontNeed,
        Pages::Shared => Advice::LinuxRemove,
        Pages::PrivateFile => return replace_pages(start, length),
        Pages::Keep => return false,
    };
    // SAFETY: the pages lie in `mapping` (checked above), which is borrowed and so stays mapped;
    // their loss is the purpose, and guest RAM is never borrowed as a reference that relies on its
    // contents.
    unsafe { madvise(start.cast(), length, advice) }.is_ok()
}

/// Puts anonymous pages in the place of `length` bytes at `start`, whole pages of a private mapping of guest RAM
/// that stays mapped. No thread finds the place unmapped: the kernel replaces it under its lock.
fn replace_pages(start: *mut u8, length: usize) -> bool {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
    // SAFETY: `drop_pages` has checked that the range lies in a mapping of guest RAM, which its owner unmaps as a
    // range of addresses, whatever is mapped there; the loss of its contents is the purpose, and guest RAM is never
    // borrowed as a reference that relies on them.
    let is_replaced = unsafe { mmap_anonymous(start.cast(), length, access, flags) }.is_ok();
    if is_replaced {
        // As for the pages that were there; a refusal costs a larger core dump, no more.
        // SAFETY: as above; the advice changes neither the contents nor the validity of the pages.
        let _ = unsafe { madvise(start.cast(), length, Advice::LinuxDontDump) };
    }
    is_replaced
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backing, RamConfig, RamSize};

    const MEBIBYTE: u64 = 1 << 20;

    fn ram(backing: Backing, prefault: bool) -> GuestRam {
        GuestRam::new(&RamConfig {
            size: RamSize::mebibytes(16),
            backing,
            prefault,
            dirty_log: true,
            ..RamConfig::default()
        })
        .unwrap()
    }

    /// Bytes of a RAM that the host holds for this process.
    fn resident(ram: &GuestRam) -> u64 {
        crate::ram::tests::resident_kibibytes(&ram.regions()[0]) << 10
    }

    fn touch(ram: &GuestRam) {
        ram.fill(GuestAddress(0), 16 << 20, 0xaa).unwrap();
    }

    #[test]
    fn discarded_pages_leave_the_process_and_come_back_as_zeroes() {
        for backing in [Backing::Anonymous, Backing::Memfd] {
            let ram = ram(backing.clone(), false);
            touch(&ram);
            assert_eq!(resident(&ram), 16 * MEBIBYTE, "{backing:?}");
            ram.take_dirty_pages(0, &mut Vec::new());
            let given = ram.discard(GuestAddress(4 * MEBIBYTE), 8 * MEBIBYTE);
            assert_eq!(given, Ok(8 * MEBIBYTE));
            assert_eq!(resident(&ram), 8 * MEBIBYTE, "{backing:?}");
            let at = |address| ram.read::<u8>(GuestAddress(address)).unwrap();
            assert_eq!(at(4 * MEBIBYTE - 1), 0xaa);
            assert_eq!((at(4 * MEBIBYTE), at(12 * MEBIBYTE - 1)), (0, 0));
            assert_eq!(at(12 * MEBIBYTE), 0xaa);
            let mut log = Vec::new();
            ram.take_dirty_pages(0, &mut log);
            let dirty: u32 = log.iter().map(|word| word.count_ones()).sum();
            assert_eq!(dirty, 2048);
        }
    }

    #[test]
    fn only_whole_pages_go() {
        let ram = ram(Backing::Anonymous, false);
        touch(&ram);
        assert_eq!(ram.discard(GuestAddress(0x1001), 0x1fff), Ok(0x1000));
        let at = |address| ram.read::<u8>(GuestAddress(address)).unwrap();
        assert_eq!((at(0x1fff), at(0x2000), at(0x2fff)), (0xaa, 0, 0));
        assert_eq!(at(0x3000), 0xaa);
        assert_eq!(ram.discard(GuestAddress(0x5001), 0xfff), Ok(0));
        assert_eq!(ram.discard(GuestAddress(0x5000), 0), Ok(0));
    }

    #[test]
    fn pages_that_were_paid_for_stay() {
        let ram = ram(Backing::Anonymous, true);
        touch(&ram);
        assert_eq!(ram.discard(GuestAddress(0), MEBIBYTE), Ok(0));
        assert_eq!(ram.read::<u8>(GuestAddress(0)), Ok(0xaa));
    }

    #[test]
    fn what_is_not_ram_is_refused() {
        let ram = ram(Backing::Anonymous, false);
        for (address, length) in [
            (16 * MEBIBYTE, 4096),
            (0, 17 * MEBIBYTE),
            (0, u64::MAX),
            (u64::MAX, 1),
        ] {
            assert!(ram.discard(GuestAddress(address), length).is_err());
        }
    }
}
