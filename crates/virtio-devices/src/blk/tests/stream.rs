//! Streams of requests against a model, and drivers that keep no rules.

use proptest::prelude::*;
use vmmkit_virtio::fake::hostile::torture;

use super::*;

/// Sectors of a region; requests that are under way at once are in different ones.
const REGION: u64 = 64;
const REGIONS: u64 = 8;

#[derive(Clone, Debug)]
enum Step {
    Read(u64, u64),
    Write(u64, u64, u8),
    Zero(u64, u64, bool),
    Discard(u64, u64),
    Flush,
}

/// A step in a region: where it begins there, and how many sectors.
fn step() -> impl Strategy<Value = Step> {
    let place = (0..REGION - 16, 1_u64..=16);
    prop_oneof![
        3 => place.clone().prop_map(|(at, count)| Step::Read(at, count)),
        4 => (place.clone(), any::<u8>())
            .prop_map(|((at, count), seed)| Step::Write(at, count, seed)),
        1 => (place.clone(), any::<bool>())
            .prop_map(|((at, count), unmap)| Step::Zero(at, count, unmap)),
        1 => place.prop_map(|(at, count)| Step::Discard(at, count)),
        1 => Just(Step::Flush),
    ]
}

/// Some steps at once, each in the region of its number.
fn batches() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let batch = proptest::collection::vec(step(), 1..=REGIONS as usize);
    proptest::collection::vec(batch, 1..12)
}

/// Splits `bytes` into two, where that can be.
fn halves(bytes: usize, first: usize) -> Vec<usize> {
    if bytes > first {
        vec![first, bytes - first]
    } else {
        vec![bytes]
    }
}

/// Makes the step available; its chain's number.
fn send(driver: &mut Driver, queue: u16, base: u64, step: &Step) -> u16 {
    let (readable, writable) = match *step {
        Step::Read(at, count) => {
            let mut room = halves(count as usize * 512, 700);
            room.push(1);
            (vec![header(request::IN, base + at)], room)
        }
        Step::Write(at, count, seed) => {
            let bytes = pattern(count as usize * 512, seed);
            let (first, second) = bytes.split_at(bytes.len() / 3);
            let head = header(request::OUT, base + at);
            (vec![head, first.to_vec(), second.to_vec()], vec![1])
        }
        Step::Zero(at, count, unmap) => {
            let range = range(base + at, count as u32, unmap.into());
            (vec![header(request::WRITE_ZEROES, 0), range], vec![1])
        }
        Step::Discard(at, count) => {
            let range = range(base + at, count as u32, 0);
            (vec![header(request::DISCARD, 0), range], vec![1])
        }
        Step::Flush => (vec![header(request::FLUSH, 0)], vec![1]),
    };
    let readable: Vec<&[u8]> = readable.iter().map(Vec::as_slice).collect();
    driver.add(queue, &readable, &writable).unwrap()
}

/// Applies the step to the model, given its answer.
fn check(driver: &mut Driver, model: &mut [u8], base: u64, step: &Step, answer: &[u8]) {
    assert_eq!(answer.last(), Some(&0), "{step:?}");
    let bytes = |at: u64, count: u64| {
        let start = (base + at) as usize * 512;
        start..start + count as usize * 512
    };
    match *step {
        Step::Read(at, count) => {
            assert!(
                answer[..answer.len() - 1] == model[bytes(at, count)],
                "{step:?}"
            );
        }
        Step::Write(at, count, seed) => {
            model[bytes(at, count)].copy_from_slice(&pattern(count as usize * 512, seed));
        }
        Step::Zero(at, count, _) => model[bytes(at, count)].fill(0),
        Step::Discard(at, count) => {
            // Each sector is what it was, or zeroes.
            let (found, status) = read(driver, base + at, count as usize * 512);
            assert_eq!(status, 0);
            let old = &mut model[bytes(at, count)];
            for (old, found) in old.chunks_mut(512).zip(found.chunks(512)) {
                assert!(found == &*old || found == [0; 512], "{step:?}");
                old.copy_from_slice(found);
            }
        }
        Step::Flush => {}
    }
}

fn run(batches: &[Vec<Step>], kind: BackEnd, queues: u16) {
    let Some((block, _path)) = kind.block(queues) else {
        return;
    };
    let mut driver = Driver::start(block.clone()).unwrap();
    let mut model = vec![0; SIZE as usize];
    for (number, batch) in batches.iter().enumerate() {
        // Queue 0 is also what `read` uses; nothing else is under way then.
        let queue = (number as u16) % queues;
        let heads: Vec<_> = (0..)
            .zip(batch)
            .map(|(region, step)| send(&mut driver, queue, region * REGION, step))
            .collect();
        driver.kick(queue);
        let mut answers = vec![None; heads.len()];
        for _ in &heads {
            let (head, answer) = driver.wait(queue).unwrap();
            let place = heads.iter().position(|sent| *sent == head).unwrap();
            answers[place] = Some(answer);
        }
        for ((region, step), answer) in (0..).zip(batch).zip(answers) {
            let base = region * REGION;
            check(&mut driver, &mut model, base, step, &answer.unwrap());
        }
    }
    assert!(read(&mut driver, 0, SIZE as usize).0 == model, "{kind:?}");
    assert_eq!(block.stats().host_errors, 0);
    assert_eq!(block.stats().bad_requests, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any stream of requests leaves on any disk what it leaves in an array of bytes.
    #[test]
    fn every_back_end_is_what_an_array_of_bytes_is(batches in batches(), queues in 1_u16..=3) {
        for kind in BackEnd::ALL {
            run(&batches, kind, queues);
        }
    }

    /// Whatever bytes a driver sends: what is found in them lies on the disk.
    #[test]
    fn parsed_requests_lie_on_the_disk(
        kind in prop_oneof![0_u32..16, any::<u32>()],
        sector in prop_oneof![0_u64..20, any::<u64>()],
        range in proptest::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..20),
        extra in prop_oneof![Just(0_u64), (0..20_u64).prop_map(|count| count * 512), any::<u64>()],
        writable in prop_oneof![(0..20_u64).prop_map(|count| count * 512 + 1), any::<u64>()],
        capacity in (0..40_u64).prop_map(|sectors| sectors * 512),
        read_only in any::<bool>(),
    ) {
        let mut head = header(kind, sector);
        head.extend(&range);
        head.truncate(request::HEADER + request::RANGE);
        let readable = (head.len() as u64).saturating_add(extra);
        let limits = BlockLimits { capacity, read_only, features: u64::MAX };
        if let Ok(request) = parse_block_request(&head, readable, writable, &limits) {
            let (offset, length, writes) = match request {
                BlockRequest::Read { offset, length } => (offset, length, false),
                BlockRequest::Write { offset, length }
                | BlockRequest::Discard { offset, length }
                | BlockRequest::WriteZeroes { offset, length, .. } => (offset, length, true),
                BlockRequest::Flush | BlockRequest::Identify => (0, 0, false),
            };
            prop_assert!(offset.checked_add(length).unwrap() <= capacity);
            prop_assert!(offset % 512 == 0 && length % 512 == 0);
            prop_assert!(!(writes && read_only));
        }
    }
}

#[test]
fn hostile_drivers_are_survived() {
    for (seed, kind) in (1..).zip(BackEnd::ALL) {
        let Some((block, _path)) = kind.block(2) else {
            continue;
        };
        let device: Arc<dyn Device> = block.clone();
        torture(&device, seed, 60).unwrap();
        let mut driver = Driver::start(device).unwrap();
        assert_eq!(write(&mut driver, 0, &pattern(512, 1)), 0, "{kind:?}");
        assert_eq!(read(&mut driver, 0, 512), (pattern(512, 1), 0), "{kind:?}");
    }
}
