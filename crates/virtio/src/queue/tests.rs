use std::sync::Arc;

use proptest::prelude::*;
use virtio_queue::{Queue as TheirQueue, QueueT};
use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig, RamSize, Segment};

use super::*;
use crate::spec::{feature, split};

const LAYOUT: QueueLayout = QueueLayout {
    size: 8,
    descriptors: 0x1000,
    available: 0x2000,
    used: 0x3000,
};
const NEXT: u16 = split::DESC_F_NEXT;
const WRITE: u16 = split::DESC_F_WRITE;
const INDIRECT: u16 = split::DESC_F_INDIRECT;

fn ram() -> GuestRam {
    GuestRam::new(&RamConfig {
        size: RamSize::mebibytes(1),
        ..RamConfig::default()
    })
    .unwrap()
}

fn ring(ram: &GuestRam, features: u64) -> SplitRing {
    SplitRing::new(ram, LAYOUT, features).unwrap()
}

/// Writes a descriptor into the table at `table`.
fn describe(ram: &GuestRam, table: u64, index: u64, address: u64, length: u32, rest: (u16, u16)) {
    let at = GuestAddress(table + 16 * index);
    ram.write(at, address).unwrap();
    ram.write(GuestAddress(at.0 + 8), length).unwrap();
    ram.write(GuestAddress(at.0 + 12), rest.0).unwrap();
    ram.write(GuestAddress(at.0 + 14), rest.1).unwrap();
}

/// Makes the chain at `head` the one of entry `entry`, and `index` the driver's index.
fn offer(ram: &GuestRam, entry: u64, head: u16, index: u16) {
    ram.write(GuestAddress(0x2004 + 2 * entry), head).unwrap();
    ram.write(GuestAddress(0x2002), index).unwrap();
}

fn pop_one(head: u16, features: u64, prepare: impl Fn(&GuestRam)) -> Result<Chain, RingError> {
    let ram = ram();
    prepare(&ram);
    offer(&ram, 0, head, 1);
    let mut chain = Chain::new();
    let found = ring(&ram, features).pop(&mut chain)?;
    assert!(found);
    Ok(chain)
}

fn segment(address: u64, length: u32) -> Segment {
    Segment {
        address: GuestAddress(address),
        length,
    }
}

#[test]
fn a_chain_is_its_readable_then_its_writable_buffers() {
    let chain = pop_one(2, 0, |ram| {
        describe(ram, 0x1000, 2, 0x8000, 10, (NEXT, 5));
        describe(ram, 0x1000, 5, 0x9000, 20, (NEXT | WRITE, 0));
        describe(ram, 0x1000, 0, 0xa000, 30, (WRITE, 0));
    })
    .unwrap();
    assert_eq!(chain.head(), 2);
    assert_eq!(chain.readable(), [segment(0x8000, 10)]);
    assert_eq!(chain.writable(), [segment(0x9000, 20), segment(0xa000, 30)]);
    assert_eq!((chain.readable_bytes(), chain.writable_bytes()), (10, 50));
}

#[test]
fn an_indirect_table_is_followed() {
    let prepare = |ram: &GuestRam| {
        describe(ram, 0x1000, 0, 0x8000, 10, (NEXT, 1));
        describe(ram, 0x1000, 1, 0x5000, 32, (INDIRECT, 0));
        describe(ram, 0x5000, 0, 0x9000, 4, (NEXT, 1));
        describe(ram, 0x5000, 1, 0xa000, 5, (WRITE, 0));
    };
    let chain = pop_one(0, feature::INDIRECT_DESC, prepare).unwrap();
    assert_eq!(chain.readable(), [segment(0x8000, 10), segment(0x9000, 4)]);
    assert_eq!(chain.writable(), [segment(0xa000, 5)]);
    assert_eq!(pop_one(0, 0, prepare).unwrap_err(), RingError::Indirect);
}

#[test]
fn every_broken_rule_is_named() {
    let all = feature::INDIRECT_DESC;
    let one = |address: u64, length: u32, rest: (u16, u16)| {
        pop_one(0, all, |ram| {
            describe(ram, 0x1000, 0, address, length, rest);
            describe(ram, 0x5000, 0, 0x9000, 4, (INDIRECT, 0));
        })
        .unwrap_err()
    };
    let outside = |address, length| RingError::Outside { address, length };
    assert_eq!(one(0xf_fffc, 8, (0, 0)), outside(0xf_fffc, 8));
    assert_eq!(one(u64::MAX, 8, (0, 0)), outside(u64::MAX, 8));
    assert_eq!(one(0x8000, 0, (0, 0)), RingError::Empty);
    let index = RingError::Index { index: 8, count: 8 };
    assert_eq!(one(0x8000, 8, (NEXT, 8)), index);
    // Round and round.
    assert_eq!(one(0x8000, 8, (NEXT, 0)), RingError::TooLong { most: 8 });
    assert_eq!(one(0x5000, 16, (INDIRECT | NEXT, 1)), RingError::Indirect);
    assert_eq!(one(0x5000, 16, (INDIRECT, 0)), RingError::Indirect);
    assert_eq!(
        one(0x5000, 15, (INDIRECT, 0)),
        RingError::Table { length: 15 }
    );
    assert_eq!(
        one(0x5000, 0, (INDIRECT, 0)),
        RingError::Table { length: 0 }
    );
    let table = one(0xf_fff0, 32, (INDIRECT, 0));
    assert_eq!(table, outside(0xf_fff0, 32));
    let order = pop_one(0, all, |ram| {
        describe(ram, 0x1000, 0, 0x8000, 8, (WRITE | NEXT, 1));
        describe(ram, 0x1000, 1, 0x8000, 8, (0, 0));
    });
    assert_eq!(order.unwrap_err(), RingError::Order);
    let head = pop_one(8, all, |_| {}).unwrap_err();
    assert_eq!(head, index);
}

#[test]
fn more_chains_than_the_ring_holds_are_not_believed() {
    let ram = ram();
    let mut ring = ring(&ram, 0);
    offer(&ram, 0, 0, 9);
    let error = RingError::Available { found: 9, size: 8 };
    assert_eq!(ring.pop(&mut Chain::new()), Err(error));
    offer(&ram, 0, 0, 0xffff);
    assert!(ring.pop(&mut Chain::new()).is_err());
}

#[test]
fn a_layout_that_cannot_be_is_refused() {
    let ram = ram();
    let refused = |layout| SplitRing::new(&ram, layout, 0).is_err();
    for size in [0, 3, 7, 65535] {
        assert!(refused(QueueLayout { size, ..LAYOUT }), "{size}");
    }
    for address in [0x1008, 0xf_ffc0, 1 << 40, u64::MAX - 15] {
        let descriptors = address;
        assert!(
            refused(QueueLayout {
                descriptors,
                ..LAYOUT
            }),
            "{address:#x}"
        );
    }
    assert!(refused(QueueLayout {
        available: 1,
        ..LAYOUT
    }));
    assert!(refused(QueueLayout { used: 2, ..LAYOUT }));
}

#[test]
fn used_chains_are_seen_when_they_are_published() {
    let ram = ram();
    let mut ring = ring(&ram, 0);
    describe(&ram, 0x1000, 3, 0x8000, 16, (WRITE, 0));
    offer(&ram, 0, 3, 1);
    let mut chain = Chain::new();
    assert_eq!(ring.pop(&mut chain), Ok(true));
    assert_eq!(ring.pop(&mut chain), Ok(false));
    ring.complete(&chain, 100);
    assert_eq!(ram.read::<u16>(GuestAddress(0x3002)), Ok(0));
    assert!(ring.publish());
    assert_eq!(ram.read::<u16>(GuestAddress(0x3002)), Ok(1));
    assert_eq!(ram.read::<u32>(GuestAddress(0x3004)), Ok(3));
    // Never more than there is room for.
    assert_eq!(ram.read::<u32>(GuestAddress(0x3008)), Ok(16));
    assert!(!ring.publish());
}

#[test]
fn a_driver_may_ask_for_no_interrupt() {
    let ram = ram();
    let mut ring = ring(&ram, 0);
    ram.write(GuestAddress(0x2000), split::AVAIL_F_NO_INTERRUPT)
        .unwrap();
    ring.complete_head(0, 0);
    assert!(!ring.publish());
}

#[test]
fn with_event_idx_each_side_says_when_to_be_told() {
    let ram = ram();
    let mut ring = ring(&ram, feature::EVENT_IDX);
    let mut chain = Chain::new();
    assert_eq!(ring.pop(&mut chain), Ok(false));
    // The kick that is wanted next is that of entry 0.
    assert_eq!(ram.read::<u16>(GuestAddress(0x3004 + 64)), Ok(0));
    describe(&ram, 0x1000, 0, 0x8000, 16, (WRITE, 0));
    offer(&ram, 0, 0, 1);
    assert_eq!(ring.pop(&mut chain), Ok(true));
    assert_eq!(ring.pop(&mut chain), Ok(false));
    assert_eq!(ram.read::<u16>(GuestAddress(0x3004 + 64)), Ok(1));
    // The driver wants to be told of the third used chain.
    ram.write(GuestAddress(0x2004 + 16), 2_u16).unwrap();
    ring.complete_head(0, 0);
    assert!(!ring.publish());
    ring.complete_head(0, 0);
    assert!(!ring.publish());
    ring.complete_head(0, 0);
    assert!(ring.publish());
    ring.complete_head(0, 0);
    assert!(!ring.publish());
}

#[test]
fn a_chain_that_was_put_back_comes_again_also_after_a_move() {
    let ram = ram();
    let mut ring = ring(&ram, 0);
    describe(&ram, 0x1000, 4, 0x8000, 16, (WRITE, 0));
    offer(&ram, 0, 4, 1);
    let mut chain = Chain::new();
    assert_eq!(ring.pop(&mut chain), Ok(true));
    ring.unpop();
    let mut moved = SplitRing::resume(&ram, ring.state(), 0).unwrap();
    assert_eq!(moved.pop(&mut chain), Ok(true));
    assert_eq!(chain.head(), 4);
    moved.complete(&chain, 1);
    moved.publish();
    assert_eq!(moved.state().next_used, 1);
}

#[test]
fn readers_and_writers_cross_the_borders_of_buffers() {
    let ram = Arc::new(ram());
    let chain = Chain {
        head: 0,
        segments: vec![
            segment(0x100, 3),
            segment(0x200, 2),
            segment(0x300, 4),
            segment(0x400, 4),
        ],
        readable: 2,
        readable_bytes: 5,
        writable_bytes: 8,
    };
    ram.write_bytes(GuestAddress(0x100), b"abc").unwrap();
    ram.write_bytes(GuestAddress(0x200), b"de").unwrap();
    let mut reader = chain.reader(&ram);
    assert_eq!(reader.read_value::<[u8; 4]>(), Some(*b"abcd"));
    assert_eq!(reader.left(), 1);
    assert_eq!(reader.read_value::<u16>(), None);
    assert_eq!(reader.left(), 0);

    let mut writer = chain.writer(&ram);
    assert!(writer.write_value(*b"12345"));
    let mut rest = Vec::new();
    writer.rest(2, &mut rest);
    assert_eq!(rest, [segment(0x401, 2)]);
    writer.skip(1);
    assert_eq!((writer.written(), writer.left()), (6, 2));
    assert_eq!(writer.write(b"6789"), 2);
    assert_eq!(ram.read::<[u8; 4]>(GuestAddress(0x300)), Ok(*b"1234"));
    assert_eq!(
        ram.read::<[u8; 4]>(GuestAddress(0x400)),
        Ok([b'5', 0, b'6', b'7'])
    );
}

#[derive(Clone, Debug)]
struct Words(Vec<(u64, u32, u16, u16)>, Vec<u16>, u16);

fn tables() -> impl Strategy<Value = Words> {
    let address = prop_oneof![4 => 0x8000_u64..0x9_0000, 1 => any::<u64>()];
    let length = prop_oneof![6 => 1_u32..0x2000, 1 => any::<u32>()];
    let flags = prop_oneof![8 => 0_u16..4, 1 => any::<u16>()];
    let next = prop_oneof![8 => 0_u16..8, 1 => any::<u16>()];
    let descriptor = (address, length, flags, next);
    let heads = prop::collection::vec(prop_oneof![8 => 0_u16..8, 1 => any::<u16>()], 8);
    (prop::collection::vec(descriptor, 8), heads, 0_u16..10)
        .prop_map(|(table, heads, index)| Words(table, heads, index))
}

proptest! {
    /// Chains that both take are the same; chains that ours takes, theirs takes too.
    #[test]
    fn chains_are_those_of_virtio_queue(Words(table, heads, index) in tables()) {
        let ram = ram();
        for (number, (address, length, flags, next)) in (0..).zip(table) {
            describe(&ram, 0x1000, number, address, length, (flags & !INDIRECT, next));
        }
        for (entry, head) in (0..).zip(heads) {
            offer(&ram, entry, head, index);
        }
        let mut ring = ring(&ram, 0);
        let mut theirs = TheirQueue::new(8).unwrap();
        theirs.try_set_desc_table_address(GuestAddress(0x1000)).unwrap();
        theirs.try_set_avail_ring_address(GuestAddress(0x2000)).unwrap();
        theirs.try_set_used_ring_address(GuestAddress(0x3000)).unwrap();
        theirs.set_size(8);
        theirs.set_ready(true);
        let mut chain = Chain::new();
        while let Ok(true) = ring.pop(&mut chain) {
            let other = theirs.pop_descriptor_chain(ram.memory());
            prop_assert!(other.is_some());
            let Some(other) = other else { break };
            prop_assert_eq!(other.head_index(), chain.head());
            let readable = other.clone().readable();
            let readable: Vec<_> = readable.map(|d| segment(d.addr().0, d.len())).collect();
            let writable: Vec<_> = other.writable().map(|d| segment(d.addr().0, d.len())).collect();
            prop_assert_eq!(&readable, chain.readable());
            prop_assert_eq!(&writable, chain.writable());
        }
    }
}
