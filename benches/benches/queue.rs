//! The cost of a chain to the device's side of a split queue: to pop it, give it back and decide on an
//! interrupt, ours beside virtio-queue's iterator, in the same RAM; and ours of a packed queue, which
//! virtio-queue has not.
//!
//! A batch is 128 chains of 1 or 3 descriptors, or an indirect table of 3; with EVENT_IDX, as every
//! Linux has it. Times are for one chain. Both sides look at each descriptor's address and length.
use std::hint::black_box;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use criterion::Criterion;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig, RamSize, RamView};
use vmmkit_virtio::spec::{feature, packed, split};
use vmmkit_virtio::{Chain, PackedRing, QueueLayout, SplitRing};

const SIZE: u16 = 256;
const BATCH: u16 = 128;
const LAYOUT: QueueLayout = QueueLayout {
    size: SIZE,
    descriptors: 0x1_0000,
    available: 0x2_0000,
    used: 0x3_0000,
};
const TABLES: u64 = 0x4_0000;

/// The shape of a chain.
#[derive(Clone, Copy)]
enum Shape {
    Direct(u16),
    Indirect(u16),
}

/// RAM with a queue whose available ring names chains of this shape, round and round.
fn ram(shape: Shape) -> GuestRam {
    let config = RamConfig {
        size: RamSize::mebibytes(64),
        ..RamConfig::default()
    };
    let ram = GuestRam::new(&config).unwrap_or_else(|error| fail(&error));
    for entry in 0..SIZE {
        let head = match shape {
            Shape::Direct(length) => {
                let head = entry % (SIZE / length) * length;
                chain(&ram, LAYOUT.descriptors, head, length);
                head
            }
            Shape::Indirect(length) => {
                let table = TABLES + u64::from(entry) * 0x100;
                chain(&ram, table, 0, length);
                let bytes = u32::from(length) * 16;
                let flags = split::DESC_F_INDIRECT;
                describe(&ram, LAYOUT.descriptors, entry, (table, bytes, flags, 0));
                entry
            }
        };
        put(&ram, LAYOUT.available + 4 + 2 * u64::from(entry), head);
    }
    ram
}

/// A chain of `length` from `first` on in `table`: one to read, the others to write.
fn chain(ram: &GuestRam, table: u64, first: u16, length: u16) {
    for place in 0..length {
        let mut flags = if place > 0 { split::DESC_F_WRITE } else { 0 };
        if place + 1 < length {
            flags |= split::DESC_F_NEXT;
        }
        let index = first + place;
        let address = 0x100_0000 + u64::from(index) * 0x1000;
        describe(ram, table, index, (address, 0x1000, flags, index + 1));
    }
}

fn describe(ram: &GuestRam, table: u64, index: u16, value: (u64, u32, u16, u16)) {
    let at = table + 16 * u64::from(index);
    put(ram, at, value.0);
    put(ram, at + 8, value.1);
    put(ram, at + 12, value.2);
    put(ram, at + 14, value.3);
}

fn put<T: vmmkit_guest_memory::ByteValued>(ram: &GuestRam, at: u64, value: T) {
    ram.write(GuestAddress(at), value)
        .unwrap_or_else(|error| fail(&error));
}

/// The driver makes another batch available, and wants an interrupt at its end.
fn offer(available: RamView<'_>, index: &mut u16) {
    *index = index.wrapping_add(BATCH);
    let event = index.wrapping_sub(1);
    let _ = available.store_u16(4 + 2 * usize::from(SIZE), event, Ordering::Relaxed);
    let _ = available.store_u16(2, *index, Ordering::Release);
}

fn ours(shape: Shape, batches: u64) -> Duration {
    let ram = ram(shape);
    let features = feature::EVENT_IDX | feature::INDIRECT_DESC;
    let mut ring = SplitRing::new(&ram, LAYOUT, features).unwrap_or_else(|error| fail(&error));
    let window = ram
        .window(GuestAddress(LAYOUT.available), 6 + 2 * usize::from(SIZE))
        .unwrap_or_else(|error| fail(&error));
    let (mut index, mut chain) = (0, Chain::new());
    let started = Instant::now();
    for _ in 0..batches {
        offer(window.view(), &mut index);
        while ring.pop(&mut chain).is_ok_and(|found| found) {
            for segment in chain.readable().iter().chain(chain.writable()) {
                black_box((segment.address, segment.length));
            }
            ring.complete(&chain, 1);
            black_box(ring.publish());
        }
    }
    started.elapsed()
}

/// A slot of a packed queue's ring as its driver writes it.
#[derive(Clone, Copy, Default)]
struct Slot {
    at: usize,
    flags: u16,
    bytes: u32,
    id: u16,
}

/// As [`ours`], of a packed queue, whose driver makes the same chains available again and again. Its
/// stores of flags are in the time, as those of indices are elsewhere.
fn ours_packed(shape: Shape, batches: u64) -> Duration {
    let ram = ram(shape);
    let (length, slots) = match shape {
        Shape::Direct(length) => (length, SIZE / length * length),
        Shape::Indirect(_) => (1, SIZE),
    };
    let layout = QueueLayout {
        size: slots,
        ..LAYOUT
    };
    let ring_bytes = usize::from(slots) * split::DESC_SIZE;
    let window = ram.window(GuestAddress(LAYOUT.descriptors), ring_bytes);
    let window = window.unwrap_or_else(|error| fail(&error));
    let heads: Vec<Slot> = (0..slots)
        .map(|slot| {
            let at = usize::from(slot) * split::DESC_SIZE;
            let view = window.view();
            Slot {
                at,
                // Where a split descriptor has its flags, a packed one has its ID.
                flags: view.load_u16(at + 12, Ordering::Relaxed).unwrap_or(0),
                bytes: view.load_u32(at + 8, Ordering::Relaxed).unwrap_or(0),
                id: slot - slot % length,
            }
        })
        .collect();
    let features = feature::EVENT_IDX | feature::INDIRECT_DESC;
    let mut ring = PackedRing::new(&ram, layout, features).unwrap_or_else(|error| fail(&error));
    let (mut next, mut wrap, mut chain) = (0, true, Chain::new());
    let started = Instant::now();
    for _ in 0..batches {
        let view = window.view();
        let mut left = BATCH;
        while left > 0 {
            let count = left.min(slots / length);
            left -= count;
            for _ in 0..count * length {
                let slot = heads.get(next).copied().unwrap_or_default();
                let mark = if wrap {
                    packed::DESC_F_AVAIL
                } else {
                    packed::DESC_F_USED
                };
                let (at, flags) = (slot.at, slot.flags | mark);
                let _ = view.store_u16(at + packed::ID, slot.id, Ordering::Relaxed);
                let _ = view.store_u32(at + packed::LENGTH, slot.bytes, Ordering::Relaxed);
                let _ = view.store_u16(at + packed::FLAGS, flags, Ordering::Release);
                next += 1;
                if next == heads.len() {
                    (next, wrap) = (0, !wrap);
                }
            }
            while ring.pop(&mut chain).is_ok_and(|found| found) {
                for segment in chain.readable().iter().chain(chain.writable()) {
                    black_box((segment.address, segment.length));
                }
                ring.complete(&chain, 1);
                black_box(ring.publish());
            }
        }
    }
    started.elapsed()
}

fn theirs(shape: Shape, batches: u64) -> Duration {
    let ram = ram(shape);
    let memory = ram.memory();
    let mut queue = Queue::new(SIZE).unwrap_or_else(|error| fail(&error));
    let place = |address| GuestAddress(address);
    let set = queue
        .try_set_desc_table_address(place(LAYOUT.descriptors))
        .and_then(|()| queue.try_set_avail_ring_address(place(LAYOUT.available)))
        .and_then(|()| queue.try_set_used_ring_address(place(LAYOUT.used)));
    set.unwrap_or_else(|error| fail(&error));
    queue.set_event_idx(true);
    queue.set_ready(true);
    let window = ram
        .window(GuestAddress(LAYOUT.available), 6 + 2 * usize::from(SIZE))
        .unwrap_or_else(|error| fail(&error));
    let mut index = 0;
    let started = Instant::now();
    for _ in 0..batches {
        offer(window.view(), &mut index);
        loop {
            while let Some(chain) = queue.iter(memory).ok().and_then(|mut iter| iter.next()) {
                let head = chain.head_index();
                for descriptor in chain {
                    black_box((descriptor.addr(), descriptor.len()));
                }
                let _ = queue.add_used(memory, head, 1);
                let _ = black_box(queue.needs_notification(memory));
            }
            if !queue.enable_notification(memory).unwrap_or(false) {
                break;
            }
        }
    }
    started.elapsed()
}

#[expect(clippy::panic, reason = "a bench that cannot be set up has no result")]
fn fail(error: &dyn std::fmt::Display) -> ! {
    panic!("{error}")
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, shape) in [
        ("1 descriptor", Shape::Direct(1)),
        ("3 descriptors", Shape::Direct(3)),
        ("3 indirect", Shape::Indirect(3)),
    ] {
        let mut group = criterion.benchmark_group(format!("queue/{name}"));
        let per_chain = |time: Duration| time / u32::from(BATCH);
        group.bench_function("vmmkit", |bencher| {
            bencher.iter_custom(|batches| per_chain(ours(shape, batches)));
        });
        group.bench_function("vmmkit, packed", |bencher| {
            bencher.iter_custom(|batches| per_chain(ours_packed(shape, batches)));
        });
        group.bench_function("virtio-queue", |bencher| {
            bencher.iter_custom(|batches| per_chain(theirs(shape, batches)));
        });
    }
    criterion.final_summary();
}
