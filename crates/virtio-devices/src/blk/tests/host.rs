//! Pause, move, resize and limits.

use std::num::NonZeroU64;
use std::time::Duration;

use vmmkit_device_bus::{Lifecycle, SaveState, SavedState, check_golden};

use super::*;
use crate::{Bucket, RateLimit};

/// Makes writes of 4 KiB available and kicks.
fn send_writes(driver: &mut Driver, count: u64) {
    for number in 0..count {
        let head = header(request::OUT, number * 8);
        let bytes = pattern(4096, number as u8);
        driver.add(0, &[&head, &bytes], &[1]).unwrap();
    }
    driver.kick(0);
}

#[test]
fn a_pause_leaves_nothing_under_way() {
    for (kind, block, mut driver, _path) in BackEnd::drivers() {
        send_writes(&mut driver, 60);
        driver.transport().pause();
        driver.transport().wait_paused();
        // What was taken is done, and nothing more happens.
        let done = block.stats().writes;
        let used = std::iter::from_fn(|| driver.used(0)).count();
        assert_eq!(used as u64, done, "{kind:?}");
        driver.transport().resume();
        for _ in done..60 {
            assert_eq!(driver.wait(0).unwrap().1, [0], "{kind:?}");
        }
        assert_eq!(block.stats().writes, 60);
    }
}

#[test]
fn a_saved_disk_goes_on_where_it_was() {
    let path = TempPath::raw(SIZE);
    let block = Arc::new(Block::open(&path.config()).unwrap());
    let mut driver = Driver::start(block.clone()).unwrap();
    driver.set_config(32, &[0]);
    assert_eq!(write(&mut driver, 3, &pattern(512, 3)), 0);
    let saved = block.save_state().unwrap().to_json();
    assert!(
        saved.ends_with(r#""state":{"sectors":2048,"writeback":false}}"#),
        "{saved}"
    );
    // The lock goes with the old device.
    drop(block);
    let reads = BlockConfig {
        read_only: true,
        ..path.config()
    };
    assert!(Block::open(&reads).is_err());
    let twin = Arc::new(MemoryDisk::from(std::fs::read(path.get()).unwrap()));
    let other = Block::with_disk(twin, &BlockConfig::default()).unwrap();
    driver.move_to(Arc::new(other)).unwrap();
    assert_eq!(driver.config(32), [0]);
    assert_eq!(read(&mut driver, 3, 512), (pattern(512, 3), 0));
    Block::open(&reads).unwrap();
}

#[test]
fn a_state_of_another_disk_is_refused() {
    let disk = Arc::new(MemoryDisk::new(1024));
    let block = Block::with_disk(disk, &BlockConfig::default()).unwrap();
    let golden = include_str!("../../../goldens/virtio-blk.v1.json");
    let other = golden.replace("\"sectors\": 2", "\"sectors\": 3");
    let other = SavedState::from_json(other.as_bytes()).unwrap();
    assert_eq!(
        block.restore_state(&other).unwrap_err().to_string(),
        "virtio-blk: sectors 3: this machine has 2 in memory"
    );
    check_golden(&block, golden).unwrap();
}

#[test]
fn a_resize_is_told_to_the_driver() {
    let disk = Arc::new(MemoryDisk::new(1024));
    let block = Block::with_disk(disk.clone(), &BlockConfig::default()).unwrap();
    let block = Arc::new(block);
    let mut driver = Driver::start(block.clone()).unwrap();
    assert_eq!(read(&mut driver, 2, 512).1, 1);
    let seen = driver.interrupts();
    assert_eq!(block.resized().unwrap(), 1024);
    assert_eq!(driver.interrupts(), seen);
    disk.resize(2048);
    assert_eq!(block.resized().unwrap(), 2048);
    assert_eq!(driver.interrupts(), seen + 1);
    assert_eq!(u64::from_le_bytes(driver.config(0)), 4);
    assert_eq!(read(&mut driver, 2, 512).1, 0);
    disk.resize(2000);
    assert!(matches!(
        block.resized(),
        Err(BlockError::Size { size: 2000, .. })
    ));
    assert_eq!(block.capacity(), 2048);
    // What the driver still believes to be there is not there on the host.
    assert_eq!(read(&mut driver, 3, 512).1, 1);
    assert_eq!(block.stats().host_errors, 1);
}

#[test]
fn a_file_that_grows_is_seen_when_it_is_asked_for() {
    let path = TempPath::raw(4096);
    let block = Block::open(&path.config()).unwrap();
    let file = File::options().write(true).open(path.get()).unwrap();
    file.set_len(8192).unwrap();
    assert_eq!((block.capacity(), block.resized().unwrap()), (4096, 8192));
}

#[test]
fn a_disk_is_made_larger_and_never_smaller_or_told_why_not() {
    for kind in BackEnd::ALL {
        let Some((block, path)) = kind.block(1) else {
            continue;
        };
        let mut driver = Driver::start(block.clone()).unwrap();
        let seen = driver.interrupts();
        let more = SIZE + 4096;
        if kind == BackEnd::Qcow2 {
            for size in [None, Some(SIZE), Some(more)] {
                let error = block.resize(size).unwrap_err();
                assert!(matches!(error, ResizeError::Fixed { .. }), "{error}");
                assert!(error.to_string().contains("qemu-img resize"), "{error}");
            }
            continue;
        }
        let error = block.resize(Some(SIZE - 512)).unwrap_err();
        assert!(matches!(error, ResizeError::Smaller { size: SIZE, .. }));
        let error = block.resize(Some(more + 1)).unwrap_err();
        assert!(matches!(error, ResizeError::Fraction { block: 512 }));
        assert_eq!(block.resize(Some(SIZE)).unwrap(), SIZE);
        assert_eq!((block.capacity(), driver.interrupts()), (SIZE, seen));
        assert_eq!(block.resize(Some(more)).unwrap(), more, "{kind:?}");
        assert_eq!(driver.interrupts(), seen + 1, "{kind:?}");
        assert_eq!(u64::from_le_bytes(driver.config(0)), more / 512);
        // The new end can be written, and what is before it is zeroes.
        assert_eq!(write(&mut driver, more / 512 - 1, &[7; 512]), 0, "{kind:?}");
        let (found, status) = read(&mut driver, SIZE / 512, 4096);
        assert!(status == 0 && found[..3584] == [0; 3584] && found[3584..] == [7; 512]);
        assert_eq!(write(&mut driver, more / 512, &[7; 512]), 1);
        if let Some(path) = path {
            assert_eq!(std::fs::metadata(path.get()).unwrap().len(), more);
            let error = block.resize(Some(1 << 62)).unwrap_err();
            assert!(matches!(error, ResizeError::Host { .. }), "{error}");
            assert_eq!(block.capacity(), more);
        }
    }
}

#[test]
fn a_read_only_disk_is_looked_at_and_not_made_larger() {
    let path = TempPath::raw(4096);
    let config = BlockConfig {
        read_only: true,
        ..path.config()
    };
    let block = Block::open(&config).unwrap();
    let error = block.resize(Some(8192)).unwrap_err();
    assert!(matches!(error, ResizeError::ReadOnly { .. }), "{error}");
    let file = File::options().write(true).open(path.get()).unwrap();
    file.set_len(8192).unwrap();
    assert_eq!(block.resize(Some(8192)).unwrap(), 8192);
    file.set_len(12288).unwrap();
    assert_eq!(block.resize(None).unwrap(), 12288);
    file.set_len(12289).unwrap();
    let error = block.resize(None).unwrap_err();
    assert!(matches!(error, ResizeError::Size(BlockError::Size { .. })));
    assert_eq!(block.capacity(), 12288);
}

#[test]
fn the_halves_of_a_capacity_are_of_one_size_where_the_generation_stays() {
    const LARGE: u64 = 3 << 41;
    let file = TempPath::raw(SIZE);
    let block = Arc::new(Block::open(&file.config()).unwrap());
    let driver = Driver::start(block.clone()).unwrap();
    let sparse = File::options().write(true).open(file.get()).unwrap();
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..500 {
                let size = if round % 2 == 0 { LARGE } else { SIZE };
                sparse.set_len(size).unwrap();
                block.resized().unwrap();
            }
            is_done.store(true, Ordering::Relaxed);
        });
        while !is_done.load(Ordering::Relaxed) {
            let before = driver.transport().transport().config_generation();
            let low = u32::from_le_bytes(driver.config(0));
            let high = u32::from_le_bytes(driver.config(4));
            if driver.transport().transport().config_generation() == before {
                let sectors = u64::from(high) << 32 | u64::from(low);
                assert!([SIZE / 512, LARGE / 512].contains(&sectors), "{sectors:#x}");
            }
        }
    });
}

#[test]
fn a_limit_holds_requests_back_until_it_is_lifted() {
    for (kind, block, mut driver, _path) in BackEnd::drivers() {
        let two_an_hour = Bucket {
            size: NonZeroU64::new(2).unwrap(),
            burst: 0,
            refill: Duration::from_secs(7200),
        };
        block.rate_limiter().set(RateLimit {
            operations: Some(two_an_hour),
            ..RateLimit::default()
        });
        send_writes(&mut driver, 5);
        for _ in 0..2 {
            assert_eq!(driver.wait(0).unwrap().1, [0], "{kind:?}");
        }
        while block.rate_limiter().throttled() == 0 {
            std::thread::yield_now();
        }
        assert_eq!(driver.used(0), None, "{kind:?}");
        // A pause does not take what is held back.
        driver.transport().pause();
        driver.transport().wait_paused();
        driver.transport().resume();
        assert_eq!(block.stats().writes, 2);
        block.rate_limiter().set(RateLimit::default());
        for _ in 0..3 {
            assert_eq!(driver.wait(0).unwrap().1, [0], "{kind:?}");
        }
    }
}

#[test]
fn more_requests_than_a_ring_holds_are_all_done() {
    for kind in [BackEnd::Uring, BackEnd::Sync] {
        let Some((block, _path)) = kind.block(2) else {
            continue;
        };
        let mut driver = Driver::start(block.clone()).unwrap();
        let mut sent = 0_u64;
        let mut answered = 0;
        while answered < 2000 {
            while sent < 2000 {
                let head = header(request::OUT, sent % 2048);
                let queue = (sent % 2) as u16;
                if driver.add(queue, &[&head, &[3; 512]], &[1]).is_err() {
                    break;
                }
                sent += 1;
            }
            for queue in 0..2 {
                driver.kick(queue);
                while let Some((_, answer)) = driver.used(queue) {
                    assert_eq!(answer, [0]);
                    answered += 1;
                }
            }
            let seen = driver.interrupts();
            if answered < sent {
                driver.wait_interrupt(seen, Duration::from_millis(10));
            }
        }
        assert_eq!(block.stats().writes, 2000);
    }
}
