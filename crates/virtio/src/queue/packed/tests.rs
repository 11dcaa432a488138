use proptest::prelude::*;
use vmmkit_guest_memory::{GuestAddress, RamConfig, RamSize, Segment};

use super::*;

const NEXT: u16 = split::DESC_F_NEXT;
const WRITE: u16 = split::DESC_F_WRITE;
const INDIRECT: u16 = split::DESC_F_INDIRECT;
const AVAIL: u16 = packed::DESC_F_AVAIL;
const USED: u16 = packed::DESC_F_USED;

fn layout(size: u16) -> QueueLayout {
    QueueLayout {
        size,
        descriptors: 0x1000,
        available: 0x2000,
        used: 0x3000,
    }
}

fn ram() -> GuestRam {
    GuestRam::new(&RamConfig {
        size: RamSize::mebibytes(1),
        ..RamConfig::default()
    })
    .unwrap()
}

/// Writes the descriptor at `at`: address and length, ID and flags.
fn describe(ram: &GuestRam, at: u64, buffer: (u64, u32), id: u16, flags: u16) {
    ram.write(GuestAddress(at), buffer.0).unwrap();
    ram.write(GuestAddress(at + 8), buffer.1).unwrap();
    ram.write(GuestAddress(at + 12), id).unwrap();
    ram.write(GuestAddress(at + 14), flags).unwrap();
}

fn slot(ram: &GuestRam, slot: u64, buffer: (u64, u32), id: u16, flags: u16) {
    describe(ram, 0x1000 + 16 * slot, buffer, id, flags);
}

fn used(ram: &GuestRam, slot: u64) -> (u32, u16, u16) {
    let at = |offset| GuestAddress(0x1000 + 16 * slot + offset);
    let read = |offset| ram.read::<u16>(at(offset)).unwrap();
    (ram.read(at(8)).unwrap(), read(12), read(14))
}

fn segment(address: u64, length: u32) -> Segment {
    Segment {
        address: GuestAddress(address),
        length,
    }
}

fn pop_one(features: u64, prepare: impl Fn(&GuestRam)) -> Result<Chain, RingError> {
    let ram = ram();
    prepare(&ram);
    let mut chain = Chain::new();
    let mut ring = PackedRing::new(&ram, layout(8), features)?;
    assert!(ring.pop(&mut chain)?);
    Ok(chain)
}

#[test]
fn a_chain_is_as_many_slots_as_go_on_and_has_the_id_of_the_last_2_8_13() {
    let chain = pop_one(0, |ram| {
        slot(ram, 0, (0x8000, 10), 1, AVAIL | NEXT);
        slot(ram, 1, (0x9000, 20), 2, AVAIL | NEXT | WRITE);
        slot(ram, 2, (0xa000, 30), 7, AVAIL | WRITE);
    })
    .unwrap();
    assert_eq!(chain.head(), 7);
    assert_eq!(chain.readable(), [segment(0x8000, 10)]);
    assert_eq!(chain.writable(), [segment(0x9000, 20), segment(0xa000, 30)]);
}

#[test]
fn an_indirect_table_is_all_of_it_and_flags_but_write_mean_nothing_2_8_7() {
    let prepare = |ram: &GuestRam| {
        slot(ram, 0, (0x5000, 32), 3, AVAIL | INDIRECT);
        describe(ram, 0x5000, (0x9000, 4), 9, INDIRECT);
        describe(ram, 0x5010, (0xa000, 5), 9, WRITE | NEXT);
    };
    let chain = pop_one(feature::INDIRECT_DESC, prepare).unwrap();
    assert_eq!(chain.head(), 3);
    assert_eq!(chain.readable(), [segment(0x9000, 4)]);
    assert_eq!(chain.writable(), [segment(0xa000, 5)]);
    assert_eq!(pop_one(0, prepare).unwrap_err(), RingError::Indirect);
}

#[test]
fn every_broken_rule_is_named() {
    let one = |buffer, id, flags| {
        pop_one(feature::INDIRECT_DESC, |ram| {
            for other in 1..8 {
                slot(ram, other, (0x8000, 1), 0, AVAIL | NEXT);
            }
            slot(ram, 0, buffer, id, AVAIL | flags);
        })
        .unwrap_err()
    };
    let outside = |address, length| RingError::Outside { address, length };
    assert_eq!(one((0xf_fffc, 8), 0, 0), outside(0xf_fffc, 8));
    assert_eq!(one((0x8000, 0), 0, 0), RingError::Empty);
    let index = RingError::Index { index: 8, count: 8 };
    assert_eq!(one((0x8000, 1), 8, 0), index);
    // Round and round.
    assert_eq!(one((0x8000, 1), 0, NEXT), RingError::TooLong { most: 8 });
    assert_eq!(one((0x8000, 1), 0, NEXT | WRITE), RingError::Order);
    let both = INDIRECT | NEXT;
    assert_eq!(one((0x5000, 16), 0, both), RingError::Indirect);
    let table = RingError::Table { length: 15 };
    assert_eq!(one((0x5000, 15), 0, INDIRECT), table);
    let long = RingError::TooLong { most: 1024 };
    assert_eq!(one((0x5000, 16 * 1025), 0, INDIRECT), long);
    for size in [0, 32769] {
        let error = PackedRing::new(&ram(), layout(size), 0).unwrap_err();
        assert_eq!(error, RingError::PackedSize { size, most: 32768 });
    }
    let places = [
        (0x1008, 0x2000, 0x3000),
        (0x1000, 0x2002, 0x3000),
        (0x1000, 0x2000, 0x10_0000),
    ];
    for (descriptors, available, used) in places {
        let layout = QueueLayout {
            size: 8,
            descriptors,
            available,
            used,
        };
        let error = PackedRing::new(&ram(), layout, 0).unwrap_err();
        assert!(matches!(error, RingError::Place { .. }), "{error}");
    }
}

#[test]
fn a_batch_is_seen_by_its_first_flags_which_come_last() {
    let ram = ram();
    let mut ring = PackedRing::new(&ram, layout(4), 0).unwrap();
    let mut chain = Chain::new();
    slot(&ram, 0, (0x8000, 8), 2, AVAIL | WRITE | NEXT);
    slot(&ram, 1, (0x8000, 8), 2, AVAIL | WRITE);
    slot(&ram, 2, (0x8000, 8), 1, AVAIL);
    assert!(ring.pop(&mut chain).unwrap());
    ring.complete(&chain, 99);
    assert!(ring.pop(&mut chain).unwrap());
    ring.complete(&chain, 99);
    assert_eq!(used(&ram, 0).2, AVAIL | WRITE | NEXT);
    assert_eq!(used(&ram, 2), (0, 1, AVAIL | USED));
    assert!(ring.publish());
    assert_eq!(used(&ram, 0), (16, 2, AVAIL | USED | WRITE));
    assert!(!ring.publish(), "nothing new");
}

#[test]
fn each_side_says_when_to_be_told_2_8_10() {
    let ram = ram();
    let mut ring = PackedRing::new(&ram, layout(4), feature::EVENT_IDX).unwrap();
    let mut chain = Chain::new();
    let wish = |place: u16, flags: u16| {
        let value = u32::from(place) | u32::from(flags) << 16;
        ram.write(GuestAddress(0x2000), value).unwrap();
    };
    let mut one = |number: u64, wrap| {
        let flags = if wrap { AVAIL } else { USED };
        slot(&ram, number, (0x8000, 8), 0, flags);
        assert!(ring.pop(&mut chain).unwrap());
        assert!(!ring.pop(&mut Chain::new()).unwrap());
        ring.complete(&chain, 0);
        ring.publish()
    };
    wish(0, 0);
    assert!(one(0, true));
    // The device wants a kick at the slot that comes next.
    assert_eq!(
        ram.read::<u32>(GuestAddress(0x3000)).unwrap(),
        2 << 16 | 0x8001
    );
    wish(0, packed::EVENT_DISABLE);
    assert!(!one(1, true));
    wish(0x8003, packed::EVENT_DESC);
    assert!(!one(2, true));
    assert!(one(3, true));
    assert_eq!(ram.read::<u32>(GuestAddress(0x3000)).unwrap(), 2 << 16);
    // The same slot of this round, and of the last.
    wish(0x0000, packed::EVENT_DESC);
    assert!(one(0, false));
    wish(0x8000, packed::EVENT_DESC);
    assert!(!one(1, false));
}

/// A driver's side of the fake and the ring of a device beside it.
fn both(ram: &GuestRam, size: u16, features: u64) -> (crate::fake::PackedSide, PackedRing) {
    let driver = crate::fake::PackedSide::new(ram, 0x1000, 0x8_0000, size, features);
    let ring = PackedRing::new(ram, driver.layout(), features).unwrap();
    (driver, ring)
}

proptest! {
    // Chains of any length come and go in any order, are put back, and the queue moves elsewhere
    // between them: the driver gets each of them once, with what was written.
    #[test]
    fn every_chain_comes_back_once(
        size in 3_u16..20,
        steps in prop::collection::vec((0_u8..6, 0_usize..4, 0_usize..4), 1..200),
        event_idx: bool,
    ) {
        let ram = ram();
        let features = if event_idx { feature::EVENT_IDX } else { 0 };
        let (mut driver, mut ring) = both(&ram, size, features);
        let mut sent = std::collections::BTreeMap::new();
        let mut held: Vec<Chain> = Vec::new();
        // Those before one that was given back cannot be put back any more.
        let mut stuck = 0;
        let mut number = 0_u32;
        for (step, readable, writable) in steps {
            match step {
                0 | 1 => {
                    number += 1;
                    let text = number.to_le_bytes();
                    let parts: Vec<&[u8]> = std::iter::once(&text[..])
                        .chain(std::iter::repeat_n(&b"more"[..], readable))
                        .collect();
                    if let Some(id) = driver.add(&parts, &vec![4; writable + 1]) {
                        prop_assert!(sent.insert(id, number).is_none());
                        driver.publish();
                    }
                }
                2 => {
                    let mut chain = Chain::new();
                    if ring.pop(&mut chain).unwrap() {
                        let mut text = [0; 4];
                        chain.reader(&ram).read(&mut text);
                        prop_assert_eq!(sent[&chain.head()], u32::from_le_bytes(text));
                        held.push(chain);
                    }
                }
                3 if !held.is_empty() => {
                    let place = readable % held.len();
                    stuck = (stuck - usize::from(place < stuck)).max(place);
                    let chain = held.remove(place);
                    let mut text = [0; 4];
                    chain.reader(&ram).read(&mut text);
                    let mut writer = chain.writer(&ram);
                    writer.write(&text);
                    ring.complete(&chain, 4);
                    ring.publish();
                    let (id, answer) = driver.used().unwrap();
                    prop_assert_eq!(id, chain.head());
                    prop_assert_eq!(sent.remove(&id), Some(u32::from_le_bytes(answer.try_into().unwrap())));
                }
                4 => {
                    // Last one first.
                    while held.len() > stuck {
                        held.pop();
                        ring.unpop();
                    }
                    if held.is_empty() {
                        ring = PackedRing::resume(&ram, ring.state(), features).unwrap();
                    }
                }
                _ => prop_assert!(driver.used().is_none()),
            }
        }
    }
}
