//! Images of qcow2: well-formed ones behave as a plain file does, damaged ones do no harm.

use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::*;

/// A step of a guest on a sector and those behind it.
#[derive(Clone, Debug)]
enum Step {
    Write { seed: u8 },
    Zero { unmap: bool },
    Discard,
    Flush,
}

fn steps() -> impl Strategy<Value = Vec<(Step, u64, usize)>> {
    let step = prop_oneof![
        4 => any::<u8>().prop_map(|seed| Step::Write { seed }),
        1 => any::<bool>().prop_map(|unmap| Step::Zero { unmap }),
        1 => Just(Step::Discard),
        1 => Just(Step::Flush),
    ];
    let sectors = SIZE / 512;
    prop::collection::vec((step, 0..sectors, 1..300_usize), 1..40)
}

/// Does the steps; what was discarded may be anything, and is written anew at once.
fn act(driver: &mut Driver, twin: &mut [u8], steps: &[(Step, u64, usize)]) {
    for (step, sector, sectors) in steps {
        let start = *sector as usize * 512;
        let length = (sectors * 512).min(twin.len() - start);
        let place = &mut twin[start..start + length];
        let wanted = match step {
            Step::Flush => {
                assert_eq!(flush(driver), 0);
                continue;
            }
            Step::Write { seed } => pattern(length, *seed),
            Step::Zero { .. } => vec![0; length],
            Step::Discard => pattern(length, 1),
        };
        let count = (length / 512) as u32;
        let status = match step {
            Step::Zero { unmap } => {
                let range = range(*sector, count, u32::from(*unmap));
                ask(driver, &[&header(request::WRITE_ZEROES, 0), &range])
            }
            Step::Discard => {
                let range = range(*sector, count, 0);
                assert_eq!(ask(driver, &[&header(request::DISCARD, 0), &range]), 0);
                write(driver, *sector, &wanted)
            }
            _ => write(driver, *sector, &wanted),
        };
        assert_eq!(status, 0, "{step:?} of {count} from {sector}");
        place.copy_from_slice(&wanted);
        assert_eq!(read(driver, *sector, length), (wanted, 0));
    }
}

fn everything(driver: &mut Driver) -> Vec<u8> {
    let parts = (0..SIZE / 512).step_by(256);
    parts
        .flat_map(|sector| read(driver, sector, 256 * 512).0)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn an_image_is_as_its_twin(
        steps in steps(),
        more in steps(),
        cluster_bits in prop_oneof![Just(9_u32), Just(12), Just(16)],
        refcount_order in 0..=6_u32,
    ) {
        let path = TempPath::image(SIZE, 1 << cluster_bits, 1 << refcount_order);
        let mut twin = vec![0; SIZE as usize];
        // Opened a second time it is checked: it still counts what it uses.
        for steps in [steps, more] {
            let block = Arc::new(Block::open(&path.config()).unwrap());
            let mut driver = Driver::start(block).unwrap();
            prop_assert!(everything(&mut driver) == twin);
            act(&mut driver, &mut twin, &steps);
            prop_assert!(everything(&mut driver) == twin);
            assert_eq!(flush(&mut driver), 0);
        }
        let block = Arc::new(Block::open(&path.config()).unwrap());
        let mut driver = Driver::start(block).unwrap();
        prop_assert!(everything(&mut driver) == twin);
    }

    #[test]
    fn a_damaged_image_is_refused_or_answers(
        words in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<u64>(), 0..6_u8), 1..4),
        cluster_bits in prop_oneof![Just(9_u32), Just(12), Just(16)],
        refcount_order in 0..=6_u32,
        steps in steps(),
    ) {
        let path = TempPath::image(SIZE, 1 << cluster_bits, 1 << refcount_order);
        let block = Arc::new(Block::open(&path.config()).unwrap());
        let mut driver = Driver::start(block).unwrap();
        act(&mut driver, &mut vec![0; SIZE as usize], &steps);
        assert_eq!(flush(&mut driver), 0);
        drop(driver);
        damage(&path, &words, cluster_bits);
        let Ok(block) = Block::open(&path.config()) else {
            return Ok(());
        };
        let mut driver = Driver::start(Arc::new(block)).unwrap();
        for (_, sector, sectors) in steps {
            let sectors = sectors.min((SIZE / 512 - sector) as usize);
            write(&mut driver, sector, &pattern(sectors * 512, 9));
            let range = range(sector, sectors as u32, 0);
            ask(&mut driver, &[&header(request::DISCARD, 0), &range]);
            read(&mut driver, sector, sectors * 512);
        }
        flush(&mut driver);
    }
}

/// Changes words of 8 bytes of the image which are not data.
fn damage(path: &TempPath, words: &[(prop::sample::Index, u64, u8)], cluster_bits: u32) {
    let file = File::options()
        .read(true)
        .write(true)
        .open(path.get())
        .unwrap();
    let clusters = file.metadata().unwrap().len() >> cluster_bits;
    // Every pattern is odd, so a zero byte tells a table; and the header is as likely as all the rest.
    let is_table = |offset: &u64| {
        let mut word = [0; 8];
        file.read_exact_at(&mut word, *offset).is_ok() && word.contains(&0)
    };
    let mut places: Vec<u64> = (0..clusters << cluster_bits)
        .step_by(8)
        .filter(is_table)
        .collect();
    let header: Vec<u64> = (0..104).step_by(8).collect();
    for _ in 0..places.len() / 4 / header.len() {
        places.extend(&header);
    }
    for (place, random, kind) in words {
        let offset = places[place.index(places.len())];
        let mut word = [0; 8];
        file.read_exact_at(&mut word, offset).unwrap();
        let old = u64::from_be_bytes(word);
        let cluster = (random % (clusters + 2)) << cluster_bits;
        let new = match kind {
            0 => 0,
            1 => *random,
            2 => cluster,
            3 => cluster | 1 << 63,
            4 => old ^ 1 << (random % 64),
            _ => old.wrapping_add(1 << cluster_bits),
        };
        file.write_all_at(&new.to_be_bytes(), offset).unwrap();
    }
}

#[test]
fn what_an_image_may_not_do_is_told() {
    let path = TempPath::qcow2(SIZE);
    let block = Arc::new(Block::open(&path.config()).unwrap());
    let mut driver = Driver::start(block).unwrap();
    assert_eq!(write(&mut driver, 0, &pattern(200_000 / 512 * 512, 3)), 0);
    assert_eq!(flush(&mut driver), 0);
    drop(driver);
    let file = File::options()
        .read(true)
        .write(true)
        .open(path.get())
        .unwrap();
    let word = |offset| {
        let mut word = [0; 8];
        file.read_exact_at(&mut word, offset).unwrap();
        u64::from_be_bytes(word)
    };
    let l1 = word(40);
    let l2 = word(l1) & 0x00ff_ffff_ffff_fe00;
    let refuses = |offset: u64, value: u64, words: &str| {
        let old = word(offset);
        file.write_all_at(&value.to_be_bytes(), offset).unwrap();
        let error = Block::open(&path.config()).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, words);
        file.write_all_at(&old.to_be_bytes(), offset).unwrap();
    };
    refuses(
        l2,
        word(l2 + 8),
        &format!(
            "data at {:#x} lies where something else does",
            word(l2 + 8) & 0x00ff_ffff_ffff_fe00
        ),
    );
    refuses(
        l1,
        l1,
        &format!("an L2 table at {l1:#x} lies where something else does"),
    );
    refuses(
        l2,
        1 << 62,
        "compressed data at 0x0 lies where something else does",
    );
    refuses(
        l2,
        0x50_0000_0000,
        "data at 0x5000000000 lies behind the end of the file",
    );
    refuses(
        l2,
        0x200,
        "data at 0x200 is not at the beginning of a cluster",
    );
    refuses(
        32,
        64 << 20,
        "its header has a table of a size that cannot be",
    );
    Block::open(&path.config()).unwrap();
}
