//! Any bytes as requests of a memory device, 24 bytes each after one byte of how much is asked for,
//! beside a set of blocks.

use std::collections::BTreeSet;

use vmmkit_guest_memory::BLOCK_SIZE;
use vmmkit_virtio_devices::{MemAnswer, MemArea, MemBlocks, MemRequest, MemState};

const START: u64 = 4 << 30;
const BLOCKS: u64 = 200;

/// The numbers of the blocks that are named, if there are such.
fn named(blocks: MemBlocks) -> Option<Vec<u64>> {
    let offset = blocks.address.checked_sub(START)?;
    let first = offset / BLOCK_SIZE;
    let is_there =
        offset % BLOCK_SIZE == 0 && blocks.count > 0 && first + u64::from(blocks.count) <= BLOCKS;
    is_there.then(|| (first..first + u64::from(blocks.count)).collect())
}

/// Takes one input.
pub fn run(data: &[u8]) {
    let mut area = MemArea::new(START, BLOCKS * BLOCK_SIZE).unwrap();
    let mut model = BTreeSet::new();
    for step in data.chunks(25) {
        let wanted = u64::from(step[0]);
        assert_eq!(area.request(wanted * BLOCK_SIZE), wanted <= BLOCKS);
        let asked = area.requested() / BLOCK_SIZE;
        let Some(request) = MemRequest::parse(&step[1..]) else {
            continue;
        };
        let (answer, released) = area.answer(request);
        match request {
            MemRequest::UnplugAll => {
                model.clear();
                assert_eq!(answer, MemAnswer::Ack);
                assert_eq!(released.unwrap().length, BLOCKS * BLOCK_SIZE);
            }
            MemRequest::Plug(blocks) => {
                let new = named(blocks).filter(|it| it.iter().all(|one| !model.contains(one)));
                let expected = match &new {
                    None => MemAnswer::Error,
                    Some(new) if (model.len() + new.len()) as u64 > asked => MemAnswer::Nack,
                    Some(_) => MemAnswer::Ack,
                };
                assert_eq!((answer, released), (expected, None));
                if answer == MemAnswer::Ack {
                    model.extend(new.unwrap());
                }
            }
            MemRequest::Unplug(blocks) => {
                let old = named(blocks).filter(|it| it.iter().all(|one| model.contains(one)));
                assert_eq!(answer == MemAnswer::Ack, old.is_some());
                assert_eq!(released.is_some(), old.is_some());
                old.unwrap_or_default().iter().for_each(|one| {
                    model.remove(one);
                });
            }
            MemRequest::State(blocks) => {
                let expected = named(blocks).map(|it| {
                    match it.iter().filter(|one| model.contains(*one)).count() {
                        0 => MemState::Unplugged,
                        plugged if plugged == it.len() => MemState::Plugged,
                        _ => MemState::Mixed,
                    }
                });
                assert_eq!(answer, expected.map_or(MemAnswer::Error, MemAnswer::State));
            }
            other => panic!("{other:?} is not in the model"),
        }
        assert_eq!(area.plugged(), model.len() as u64 * BLOCK_SIZE);
        assert_eq!(answer.bytes().len(), 10);
    }
}
