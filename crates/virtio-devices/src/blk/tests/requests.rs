//! Requests that keep the rules, and those that do not, on every back end.

use super::*;

#[test]
fn what_is_written_is_read_back_in_other_pieces() {
    for (kind, block, mut driver, _path) in BackEnd::drivers() {
        let bytes = pattern(4096, 3);
        assert_eq!(write(&mut driver, 8, &bytes), 0, "{kind:?}");
        assert_eq!(flush(&mut driver), 0, "{kind:?}");
        let head = header(request::IN, 8);
        let parts = [&head[..7], &head[7..]];
        let answer = driver.request(0, &parts, &[1, 600, 3495, 1]).unwrap();
        assert_eq!(answer.len(), 4097, "{kind:?}");
        assert_eq!((&answer[..4096], answer[4096]), (&bytes[..], 0), "{kind:?}");
        let stats = block.stats();
        assert_eq!((stats.reads, stats.writes, stats.flushes), (1, 1, 1));
        assert_eq!((stats.read_bytes, stats.written_bytes), (4096, 4096));
        assert_eq!(block.first_error(), None);
    }
}

#[test]
fn what_is_not_in_the_hosts_cache_is_waited_for() {
    use rustix::fs::{Advice, fadvise};
    for kind in [BackEnd::Sync, BackEnd::Uring] {
        let Some((block, path)) = kind.block(1) else {
            continue;
        };
        let bytes = pattern(SIZE as usize, 6);
        std::fs::write(path.as_ref().unwrap().get(), &bytes).unwrap();
        let file = File::open(path.unwrap().get()).unwrap();
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        let mut driver = Driver::start(block).unwrap();
        assert!(
            read(&mut driver, 0, SIZE as usize) == (bytes, 0),
            "{kind:?}"
        );
    }
}

#[test]
fn the_status_is_the_last_byte_even_of_a_buffer_with_data() {
    let (block, _) = BackEnd::Memory.block(1).unwrap();
    let mut driver = Driver::start(block).unwrap();
    let head = header(request::IN, 0);
    let answer = driver.request(0, &[&head], &[513]).unwrap();
    assert_eq!(answer, [0; 513]);
    // A write's room for more than the status stays as it is, but for its last byte.
    let head = header(request::OUT, u64::MAX);
    let answer = driver.request(0, &[&head, &[0; 512]], &[2]).unwrap();
    assert_eq!((answer.len(), answer[1]), (2, 1));
}

#[test]
fn the_serial_number_is_filled_up_with_zeroes() {
    let (block, _) = BackEnd::Memory.block(1).unwrap();
    let mut driver = Driver::start(block).unwrap();
    let head = header(request::GET_ID, 0);
    let answer = driver.request(0, &[&head], &[20, 1]).unwrap();
    assert_eq!(&answer, b"disk-of-a-test\0\0\0\0\0\0\0");
    let answer = driver.request(0, &[&head], &[5]).unwrap();
    assert_eq!(&answer, b"disk\0");
    assert_eq!(driver.request(0, &[&head], &[1]).unwrap(), [0]);
}

#[test]
fn zeroes_and_discards_leave_their_neighbours_alone() {
    for (kind, block, mut driver, _path) in BackEnd::drivers() {
        let bytes = pattern(16 << 10, 9);
        assert_eq!(write(&mut driver, 0, &bytes), 0);
        for (first, unmap) in [(8, 0), (16, 1)] {
            let zero = [header(request::WRITE_ZEROES, 0), range(first, 8, unmap)];
            assert_eq!(ask(&mut driver, &[&zero.concat()]), 0, "{kind:?}");
        }
        let discard = [header(request::DISCARD, 0), range(24, 8, 0)];
        assert_eq!(ask(&mut driver, &[&discard[0], &discard[1]]), 0, "{kind:?}");
        let (found, status) = read(&mut driver, 0, 16 << 10);
        assert_eq!(status, 0);
        assert_eq!(found[..4096], bytes[..4096], "{kind:?}");
        assert_eq!(found[4096..12288], [0; 8192], "{kind:?}");
        assert_eq!(block.stats().discards, 3);
    }
}

#[test]
fn a_discard_gives_space_back_to_the_host() {
    use std::os::unix::fs::MetadataExt;
    for kind in [BackEnd::Sync, BackEnd::Uring] {
        let Some((block, path)) = kind.block(1) else {
            continue;
        };
        let blocks = || {
            std::fs::metadata(path.as_ref().unwrap().get())
                .unwrap()
                .blocks()
        };
        let mut driver = Driver::start(block).unwrap();
        assert_eq!(write(&mut driver, 0, &pattern(512 << 10, 1)), 0);
        assert_eq!(flush(&mut driver), 0);
        let before = blocks();
        let discard = [header(request::DISCARD, 0), range(0, 1024, 0)];
        assert_eq!(ask(&mut driver, &[&discard.concat()]), 0);
        assert_eq!(flush(&mut driver), 0);
        assert!(blocks() < before, "{kind:?}: {} of {before}", blocks());
    }
}

#[test]
fn bad_requests_fail_and_change_nothing_5_2_6_2() {
    let last = SIZE / 512;
    let io_errors = [
        // Beyond the end, and far beyond it.
        vec![header(request::OUT, last), vec![1; 512]],
        vec![header(request::OUT, last - 1), vec![1; 1024]],
        vec![header(request::OUT, u64::MAX), vec![1; 512]],
        vec![header(request::OUT, u64::MAX / 512), vec![1; 512]],
        // Not whole sectors.
        vec![header(request::OUT, 0), vec![1; 511]],
        // Less than a header.
        vec![header(request::OUT, 0)[..15].to_vec()],
        // No range, half a range, two ranges, and ranges that are too large.
        vec![header(request::DISCARD, 0)],
        vec![header(request::DISCARD, 0), range(0, 1, 0)[..15].to_vec()],
        vec![header(request::DISCARD, 0), range(0, 1, 0).repeat(2)],
        vec![header(request::DISCARD, 0), range(last, 1, 0)],
        vec![header(request::WRITE_ZEROES, 0), range(u64::MAX, 1, 0)],
        vec![header(request::WRITE_ZEROES, 0), range(0, u32::MAX, 0)],
    ];
    let unsupported = [
        vec![header(2, 0)],
        vec![header(u32::MAX, 0)],
        // Flags that mean nothing, and one that a discard must not have.
        vec![header(request::DISCARD, 0), range(0, 1, 1)],
        vec![header(request::WRITE_ZEROES, 0), range(0, 1, 2)],
    ];
    for (kind, block, mut driver, _path) in BackEnd::drivers() {
        let bytes = pattern(SIZE as usize, 5);
        assert_eq!(write(&mut driver, 0, &bytes), 0);
        let cases = io_errors.iter().map(|case| (case, 1));
        for (case, status) in cases.chain(unsupported.iter().map(|case| (case, 2))) {
            let parts: Vec<&[u8]> = case.iter().map(Vec::as_slice).collect();
            assert_eq!(ask(&mut driver, &parts), status, "{kind:?} {:?}", parts[0]);
        }
        assert_eq!(read(&mut driver, last, 512).1, 1);
        assert_eq!(read(&mut driver, 0, 511).1, 1);
        let count = (io_errors.len() + unsupported.len() + 2) as u64;
        assert_eq!(block.stats().bad_requests, count);
        assert_eq!(block.stats().host_errors, 0);
        assert!(read(&mut driver, 0, SIZE as usize).0 == bytes, "{kind:?}");
    }
}

#[test]
fn a_request_of_nothing_succeeds() {
    for (kind, _block, mut driver, _path) in BackEnd::drivers() {
        assert_eq!(ask(&mut driver, &[&header(request::IN, 0)]), 0, "{kind:?}");
        assert_eq!(ask(&mut driver, &[&header(request::OUT, 0)]), 0, "{kind:?}");
        for kind in [request::DISCARD, request::WRITE_ZEROES] {
            let nothing = [header(kind, 0), range(0, 0, 0)].concat();
            assert_eq!(ask(&mut driver, &[&nothing]), 0, "{kind:?}");
        }
    }
}

#[test]
fn a_chain_without_room_for_a_status_comes_back_empty() {
    let (block, _) = BackEnd::Memory.block(1).unwrap();
    let mut driver = Driver::start(block.clone()).unwrap();
    let head = header(request::FLUSH, 0);
    assert!(driver.request(0, &[&head], &[]).unwrap().is_empty());
    assert_eq!(block.stats().bad_requests, 1);
    assert_eq!(flush(&mut driver), 0);
}

#[test]
fn a_read_only_disk_refuses_what_would_change_it() {
    let disk = Arc::new(MemoryDisk::from(pattern(4096, 1)).read_only());
    let block = Arc::new(Block::with_disk(disk.clone(), &BlockConfig::default()).unwrap());
    let mut driver = Driver::start(block).unwrap();
    assert_ne!(driver.features() & feature::RO, 0);
    let none = feature::DISCARD | feature::WRITE_ZEROES | feature::CONFIG_WCE;
    assert_eq!(driver.features() & none, 0);
    assert_eq!(write(&mut driver, 0, &[0; 512]), 1);
    for kind in [request::DISCARD, request::WRITE_ZEROES] {
        let change = [header(kind, 0), range(0, 1, 0)].concat();
        assert_eq!(ask(&mut driver, &[&change]), 1);
    }
    assert_eq!(read(&mut driver, 0, 4096), (pattern(4096, 1), 0));
    assert_eq!(flush(&mut driver), 0);
}

#[test]
fn features_that_the_driver_did_not_take_are_not_there() {
    let (block, _) = BackEnd::Memory.block(1).unwrap();
    let options = Options {
        features: !(feature::DISCARD | feature::WRITE_ZEROES),
        ..Options::default()
    };
    let mut driver = Driver::start_with(block, &options).unwrap();
    for kind in [request::DISCARD, request::WRITE_ZEROES] {
        let change = [header(kind, 0), range(0, 1, 0)].concat();
        assert_eq!(ask(&mut driver, &[&change]), 2);
    }
}

#[test]
fn the_configuration_space_describes_the_disk_5_2_4() {
    let (block, _) = BackEnd::Memory.block(3).unwrap();
    let driver = Driver::start(block.clone()).unwrap();
    assert_eq!(u64::from_le_bytes(driver.config(0)), SIZE / 512);
    assert_eq!(u32::from_le_bytes(driver.config(12)), 254);
    assert_eq!(u32::from_le_bytes(driver.config(20)), 512);
    assert_eq!(driver.config(24), [3, 0, 8, 0]);
    assert_eq!(driver.config(32), [1]);
    assert_eq!(u16::from_le_bytes(driver.config(34)), 3);
    assert_eq!(u32::from_le_bytes(driver.config(36)), 4 << 20);
    assert_eq!(u32::from_le_bytes(driver.config(40)), 1);
    assert_eq!(u32::from_le_bytes(driver.config(44)), 8);
    assert_eq!(u32::from_le_bytes(driver.config(48)), 64 << 10);
    assert_eq!(u32::from_le_bytes(driver.config(52)), 1);
    assert_eq!(driver.config(56), [1, 0, 0, 0]);
    assert_eq!(driver.config(60), [0; 8]);
    assert_ne!(driver.features() & feature::MQ, 0);
    // Only `writeback` can be written, and a reset puts it back.
    driver.set_config(0, &[9; 4]);
    driver.set_config(32, &[0]);
    assert_eq!((driver.config(0), driver.config(32)), ([0, 8], [0]));
    block.reset();
    assert_eq!(driver.config(32), [1]);
}
