//! RAM on the heap: every access that needs no system call, so that Miri can look at them too (tools/miri).
#![allow(
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test fails by panicking; memory of an embedder's own is made with unsafe code"
)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::sync::atomic::Ordering;
use std::thread;

use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{GuestAddress, GuestMemoryMmap, GuestRegionMmap};
use vmmkit_guest_memory::GuestRam;

/// The size of each region.
const SIZE: usize = 4 * 4096;
/// Where the second one begins.
const SECOND: u64 = 1 << 32;

/// Memory of the heap, in pages.
struct Heap(*mut u8);

impl Heap {
    fn layout() -> Layout {
        Layout::from_size_align(SIZE, 4096).unwrap()
    }

    fn new() -> Self {
        // SAFETY: the layout has a size.
        let start = unsafe { alloc_zeroed(Self::layout()) };
        assert!(!start.is_null());
        Self(start)
    }

    /// It as a region at `address`, to be dropped before the heap is.
    fn region(&self, address: u64) -> GuestRegionMmap {
        let builder = MmapRegionBuilder::new_with_bitmap(SIZE, ())
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: the bytes are allocated for longer than the region lives, which unmaps nothing.
        let builder = unsafe { builder.with_raw_mmap_pointer(self.0) };
        GuestRegionMmap::new(builder.build().unwrap(), GuestAddress(address)).unwrap()
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout, and nothing refers to it any more.
        unsafe { dealloc(self.0, Heap::layout()) };
    }
}

/// Runs `test` on two regions, at 0 and at 4 GiB.
fn on_heap(test: impl FnOnce(&GuestRam)) {
    let heaps = [Heap::new(), Heap::new()];
    let regions = vec![heaps[0].region(0), heaps[1].region(SECOND)];
    let memory: GuestMemoryMmap = GuestMemoryMmap::from_regions(regions).unwrap();
    let ram = GuestRam::from_memory(&memory, [0, 1]).unwrap();
    drop(memory);
    test(&ram);
}

#[test]
fn values_of_any_size_at_any_address() {
    on_heap(|ram| {
        for start in [0, SECOND] {
            for offset in [0, 1, 3, 4093, SIZE as u64 - 8] {
                let at = GuestAddress(start + offset);
                ram.write(at, 0x1122_3344_5566_7788_u64).unwrap();
                assert_eq!(ram.read::<u64>(at), Ok(0x1122_3344_5566_7788));
                assert_eq!(ram.read::<u16>(at), Ok(0x7788));
                assert_eq!(ram.read::<u8>(at), Ok(0x88));
                ram.write(at, [1_u8, 2, 3]).unwrap();
                assert_eq!(ram.read::<u32>(at), Ok(0x5503_0201));
            }
            let end = GuestAddress(start + SIZE as u64);
            assert!(ram.read::<u8>(end).is_err() && ram.write(end, 1_u8).is_err());
            assert!(ram.read::<u64>(GuestAddress(end.0 - 7)).is_err());
        }
    });
}

#[test]
fn bytes_go_in_and_out() {
    on_heap(|ram| {
        let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        let mut seen = vec![0; bytes.len()];
        for start in [0, 1, 7, SECOND + 4090] {
            ram.write_bytes(GuestAddress(start), &bytes).unwrap();
            ram.read_bytes(GuestAddress(start), &mut seen).unwrap();
            assert_eq!(seen, bytes);
            ram.fill(GuestAddress(start + 1), bytes.len() - 2, 9)
                .unwrap();
            ram.read_bytes(GuestAddress(start), &mut seen).unwrap();
            assert_eq!((seen.first(), seen.get(1)), (Some(&0), Some(&9)));
            assert_eq!(seen.last(), bytes.last());
        }
        let last = GuestAddress(SIZE as u64 - 4);
        assert!(ram.write_bytes(last, &[1; 5]).is_err());
        assert!(ram.fill(last, 5, 1).is_err());
        assert_eq!(ram.read::<u32>(last), Ok(0));
    });
}

#[test]
fn a_window_is_used_by_two_threads_and_outlives_the_ram() {
    let heaps = [Heap::new()];
    let memory: GuestMemoryMmap = GuestMemoryMmap::from_regions(vec![heaps[0].region(0)]).unwrap();
    let ram = GuestRam::from_memory(&memory, [0]).unwrap();
    let window = ram.window(GuestAddress(4094), 20).unwrap();
    drop((memory, ram));
    let view = window.view();
    assert_eq!(view.load_u64(2, Ordering::Relaxed), Some(0));
    // Not aligned, and behind the end.
    assert_eq!(view.load_u64(0, Ordering::Relaxed), None);
    assert_eq!(view.load_u16(19, Ordering::Relaxed), None);
    thread::scope(|scope| {
        scope.spawn(|| {
            let view = window.view();
            view.store_u32(2, 7, Ordering::Relaxed).unwrap();
            view.store_u16(10, 1, Ordering::Release).unwrap();
        });
        while view.load_u16(10, Ordering::Acquire) != Some(1) {
            thread::yield_now();
        }
        assert_eq!(view.load_u32(2, Ordering::Relaxed), Some(7));
    });
}

#[test]
fn values_are_exchanged_where_they_are_as_expected() {
    on_heap(|ram| {
        let at = GuestAddress(SECOND + 8);
        assert_eq!(ram.compare_exchange_u64(at, 0, 5), Ok(Ok(0)));
        assert_eq!(ram.compare_exchange_u64(at, 0, 6), Ok(Err(5)));
        assert!(ram.compare_exchange_u64(GuestAddress(4), 0, 1).is_err());
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut known = 5;
                    while let Ok(Err(found)) = ram.compare_exchange_u64(at, known, known + 1) {
                        known = found;
                    }
                });
            }
        });
        assert_eq!(ram.read::<u64>(at), Ok(7));
    });
}
