//! The hot path of a queue takes nothing from the heap, counted.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig, RamSize};
use vmmkit_virtio::spec::{feature, split};
use vmmkit_virtio::{Chain, QueueLayout, SplitRing};

thread_local! {
    /// Bytes allocated by this thread; other threads of the test harness count their own.
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.with(|taken| taken.set(taken.get() + 1));
        // SAFETY: as the caller vouches.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller vouches.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const LAYOUT: QueueLayout = QueueLayout {
    size: 64,
    descriptors: 0x1000,
    available: 0x2000,
    used: 0x3000,
};

/// Chains of a descriptor to read and an indirect table of two to write.
fn ram() -> GuestRam {
    let ram = GuestRam::new(&RamConfig {
        size: RamSize::mebibytes(1),
        ..RamConfig::default()
    })
    .unwrap();
    let describe = |at: u64, value: (u64, u32, u16, u16)| {
        ram.write(GuestAddress(at), value.0).unwrap();
        ram.write(GuestAddress(at + 8), value.1).unwrap();
        ram.write(GuestAddress(at + 12), value.2).unwrap();
        ram.write(GuestAddress(at + 14), value.3).unwrap();
    };
    describe(0x1000, (0x8000, 16, split::DESC_F_NEXT, 1));
    describe(0x1010, (0x5000, 32, split::DESC_F_INDIRECT, 0));
    describe(
        0x5000,
        (0x9000, 8, split::DESC_F_NEXT | split::DESC_F_WRITE, 1),
    );
    describe(0x5010, (0xa000, 8, split::DESC_F_WRITE, 0));
    ram
}

#[test]
fn a_chain_takes_nothing_from_the_heap() {
    let ram = ram();
    let features = feature::EVENT_IDX | feature::INDIRECT_DESC;
    let mut ring = SplitRing::new(&ram, LAYOUT, features).unwrap();
    let mut chain = Chain::new();
    let mut round = |index: u16| {
        ram.write(GuestAddress(LAYOUT.available + 2), index)
            .unwrap();
        while ring.pop(&mut chain).unwrap() {
            let mut word = [0; 8];
            chain.reader(&ram).read(&mut word);
            chain.writer(&ram).write(&word);
            ring.complete(&chain, 8);
        }
        ring.publish();
    };
    round(60);
    let before = TAKEN.with(Cell::get);
    for index in 1..100 {
        round(60 + 60 * index);
    }
    assert_eq!(TAKEN.with(Cell::get) - before, 0);
    // The counter counts.
    let boxed = std::hint::black_box(Box::new(1));
    assert_eq!(TAKEN.with(Cell::get) - before, 1);
    drop(boxed);
}
