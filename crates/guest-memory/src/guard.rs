//! Pages without access on both sides of a region, so that a copy which runs out of it is a fault and
//! not a change of something else of this process.

use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// The guards of one region. They are unmapped with this, before the region or after it.
#[derive(Debug, Default)]
pub(crate) struct Guards {
    guards: Vec<Guard>,
}

impl Guards {
    /// The least size of a guard in bytes.
    pub(crate) const SIZE: usize = 64 << 10;

    /// Maps a guard of `length` bytes that ends at `end`, if nothing is there.
    pub(crate) fn fill_below(&mut self, end: usize, length: usize) {
        if let Some(start) = end.checked_sub(length) {
            self.guards.extend(Guard::at(start, length));
        }
    }

    /// Whether there is a guard on both sides of the `length` bytes at `start`, now that what was free
    /// there has become one.
    pub(crate) fn surround(&mut self, start: usize, length: usize) -> bool {
        let Some(end) = start.checked_add(length) else {
            return false;
        };
        let below = start.checked_sub(Self::SIZE);
        let has_low = self.guards.iter().any(|guard| guard.end() == start)
            || below.is_some_and(|address| self.add(address));
        let has_high = self.guards.iter().any(|guard| guard.start() == end) || self.add(end);
        has_low && has_high
    }

    /// Unmaps what is not beside the `length` bytes at `start`.
    pub(crate) fn keep_neighbours(&mut self, start: usize, length: usize) {
        let end = start.saturating_add(length);
        self.guards
            .retain(|guard| guard.end() == start || guard.start() == end);
    }

    fn add(&mut self, address: usize) -> bool {
        let guard = Guard::at(address, Self::SIZE);
        let is_there = guard.is_some();
        self.guards.extend(guard);
        is_there
    }
}

/// One mapping without access.
#[derive(Debug)]
struct Guard {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: a guard's memory is never accessed, and unmapping it is as good on any thread.
unsafe impl Send for Guard {}
// SAFETY: as above; a shared guard only tells its addresses.
unsafe impl Sync for Guard {}

impl Guard {
    /// A guard at `address`, if nothing is there.
    fn at(address: usize, length: usize) -> Option<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
        let hint = std::ptr::without_provenance_mut(address);
        // SAFETY: with MAP_FIXED_NOREPLACE no mapping of this process is replaced; Linux before 4.17
        // takes the address as a hint, and replaces none either.
        let start = unsafe { mmap_anonymous(hint, length, ProtFlags::empty(), flags) };
        let start = NonNull::new(start.ok()?.cast())?;
        let guard = Self { start, length };
        (guard.start() == address).then_some(guard)
    }

    fn start(&self) -> usize {
        self.start.addr().get()
    }

    fn end(&self) -> usize {
        self.start().saturating_add(self.length)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: exactly the range that was mapped; nothing has a reference into it, as it has no
        // access.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room for three guards, which nothing else of this process has.
    fn free_place() -> usize {
        let length = 3 * Guards::SIZE;
        let hint = std::ptr::null_mut();
        // SAFETY: the kernel chooses the address, so that no mapping of this process is replaced.
        let start =
            unsafe { mmap_anonymous(hint, length, ProtFlags::empty(), MapFlags::PRIVATE).unwrap() };
        // SAFETY: exactly what was mapped, to which there is no reference.
        unsafe { munmap(start, length).unwrap() };
        // Below the rest, where no other thread's mapping falls first.
        start.addr() - (1 << 40)
    }

    #[test]
    fn what_is_taken_becomes_no_guard() {
        let taken = Guard::at(free_place(), Guards::SIZE).unwrap();
        assert!(Guard::at(taken.start(), Guards::SIZE).is_none());
    }

    #[test]
    fn guards_that_are_no_neighbours_are_let_go() {
        let end = free_place() - (1 << 30);
        let mut guards = Guards::default();
        guards.fill_below(end, Guards::SIZE);
        guards.keep_neighbours(end, 1);
        assert_eq!(guards.guards.len(), 1);
        guards.keep_neighbours(end + 1, 1);
        assert!(guards.guards.is_empty());
    }
}
