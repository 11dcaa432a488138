//! Sectors that are smaller than what the host writes as a whole.

use std::os::unix::fs::FileExt;
use std::process::Command;
use std::thread;

use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig, RamSize, Segment};

use super::*;

const BLOCK: u64 = 4096;

/// `blk_size`, `physical_block_exp` and the alignment of discards in sectors.
fn told(block: &Block) -> (u32, u8, u32) {
    let mut bytes = [0; 60];
    block.read_config(0, &mut bytes);
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(20), bytes[24], number(44))
}

fn segment(address: u64, length: u64) -> Segment {
    Segment {
        address: GuestAddress(address),
        length: length as u32,
    }
}

fn ram() -> GuestRam {
    GuestRam::new(&RamConfig {
        size: RamSize::mebibytes(4),
        ..RamConfig::default()
    })
    .unwrap()
}

#[test]
fn a_guest_has_sectors_of_512_bytes_unless_others_are_asked_for() {
    for kind in BackEnd::ALL {
        if let Some((block, _path)) = kind.block(1) {
            assert_eq!(told(&block), (512, 3, 8), "{kind:?}");
        }
    }
    for path in [TempPath::raw(SIZE), TempPath::qcow2(SIZE)] {
        let mut config = path.config();
        config.block_size = 4096;
        assert_eq!(told(&Block::open(&config).unwrap()), (4096, 0, 8));
    }
    let mut config = TempPath::raw(SIZE + 512).config();
    assert!(Block::open(&config).is_err());
    let path = TempPath::raw(SIZE + 512);
    config.path = path.get().clone();
    assert!(Block::open(&config).is_ok());
    config.block_size = 4096;
    let error = Block::open(&config).unwrap_err();
    assert!(matches!(error, BlockError::Size { block: 4096, .. }));
    for size in [0, 1, 1024, 8192] {
        config.block_size = size;
        let error = Block::open(&config).unwrap_err();
        assert!(matches!(error, BlockError::BlockSize { .. }), "{error}");
    }
}

#[test]
fn any_range_can_be_changed_alone_and_the_file_keeps_its_size() {
    let size = 3 * BLOCK + 512 * 3;
    let ram = ram();
    for sectors in [1, 2, 7, 8, 9, 15, 16, 20] {
        for first in 0..size / 512 - sectors {
            let path = TempPath::raw(size);
            let mut expected = pattern(size as usize, 7);
            std::fs::write(path.get(), &expected).unwrap();
            let disk = RawDisk::open(&path.config()).unwrap().with_blocks(4096);
            let (offset, length) = (first * 512, sectors * 512);
            let range = offset as usize..(offset + length) as usize;
            let bytes = pattern(length as usize, 90);
            ram.write_bytes(GuestAddress(4096), &bytes).unwrap();
            // In two segments.
            let cut = 100.min(length - 1);
            let data = [segment(4096, cut), segment(4096 + cut, length - cut)];
            disk.write(&ram, &data, offset).unwrap();
            expected[range.clone()].copy_from_slice(&bytes);
            assert!(std::fs::read(path.get()).unwrap() == expected, "{range:?}");
            disk.read(&ram, &[segment(0x10_0000, length)], offset)
                .unwrap();
            let mut found = vec![0; length as usize];
            ram.read_bytes(GuestAddress(0x10_0000), &mut found).unwrap();
            assert!(found == bytes, "{range:?}");
            disk.write_zeroes(offset, length, first % 2 == 0).unwrap();
            expected[range.clone()].fill(0);
            assert!(std::fs::read(path.get()).unwrap() == expected, "{range:?}");
        }
    }
}

#[test]
fn a_long_transfer_to_the_middle_of_a_block_is_whole() {
    let path = TempPath::raw(SIZE);
    let disk = RawDisk::open(&path.config()).unwrap().with_blocks(4096);
    let ram = ram();
    let bytes = pattern(300 << 10, 3);
    ram.write_bytes(GuestAddress(1), &bytes).unwrap();
    disk.write(&ram, &[segment(1, 300 << 10)], 512).unwrap();
    let file = std::fs::read(path.get()).unwrap();
    assert!(file[512..][..300 << 10] == bytes && file[..512] == [0; 512]);
    assert!(file[512 + (300 << 10)..].iter().all(|byte| *byte == 0));
    disk.read(&ram, &[segment(2 << 20, 300 << 10)], 512)
        .unwrap();
    let mut found = vec![0; 300 << 10];
    ram.read_bytes(GuestAddress(2 << 20), &mut found).unwrap();
    assert!(found == bytes);
}

#[test]
fn who_writes_other_sectors_of_a_block_at_the_same_time_loses_nothing() {
    const BLOCKS: u64 = 4;
    let path = TempPath::raw(BLOCKS * BLOCK);
    let disk = RawDisk::open(&path.config()).unwrap().with_blocks(4096);
    let (disk, ram) = (&disk, &ram());
    // Each has sectors of its own in every block, and checks after each write that it has it still.
    thread::scope(|scope| {
        for own in 0..4_u64 {
            scope.spawn(move || {
                let at = (own + 1) << 16;
                for round in 0..400_u64 {
                    let offset = (round % BLOCKS) * BLOCK + own * 1024;
                    let bytes = pattern(1024, round as u8);
                    ram.write_bytes(GuestAddress(at), &bytes).unwrap();
                    if round % 7 == 6 {
                        disk.write_zeroes(offset, 1024, false).unwrap();
                    } else {
                        disk.write(ram, &[segment(at, 1024)], offset).unwrap();
                    }
                    let mut found = vec![0; 1024];
                    disk.file()
                        .unwrap()
                        .read_exact_at(&mut found, offset)
                        .unwrap();
                    let expected = if round % 7 == 6 { vec![0; 1024] } else { bytes };
                    assert!(found == expected, "{own} {round}");
                }
            });
        }
    });
}

#[test]
fn a_whole_block_by_io_uring_is_not_overwritten_by_what_was_there_before() {
    for kind in [BackEnd::Blocks, BackEnd::BlocksUring] {
        let Some((block, path)) = kind.block(2) else {
            continue;
        };
        let path = path.unwrap();
        let mut driver = Driver::start(block.clone()).unwrap();
        let head = header(request::OUT, 8);
        let inner = header(request::OUT, 11);
        for round in 1..=300_u64 {
            let bytes = vec![round as u8; BLOCK as usize];
            driver.add(0, &[&head, &bytes], &[1]).unwrap();
            driver.add(1, &[&inner, &[0xff; 512]], &[1]).unwrap();
            driver.kick(1);
            driver.kick(0);
            for queue in 0..2 {
                assert_eq!(driver.wait(queue).unwrap().1, [0], "{kind:?}");
            }
            // Of the sector that both write, either may be the last.
            let file = std::fs::read(path.get()).unwrap();
            let written = &file[BLOCK as usize..2 * BLOCK as usize];
            let (before, rest) = written.split_at(1536);
            assert!(before.iter().all(|byte| *byte == round as u8), "{kind:?}");
            assert!(rest[512..].iter().all(|byte| *byte == round as u8));
        }
        // Zeroes and discards of parts, while whole blocks are written on the same queue.
        for round in 0..100_u64 {
            let bytes = vec![round as u8 | 1; BLOCK as usize];
            for sector in [8, 16, 24] {
                let head = header(request::OUT, sector);
                driver.add(0, &[&head, &bytes], &[1]).unwrap();
            }
            let zero = [header(request::WRITE_ZEROES, 0), range(10, 10, 0)].concat();
            driver.add(0, &[&zero], &[1]).unwrap();
            driver.kick(0);
            for _ in 0..4 {
                assert_eq!(driver.wait(0).unwrap().1, [0], "{kind:?}");
            }
        }
        assert_eq!(block.stats().host_errors, 0);
    }
}

/// A block device with sectors of 4 KiB over a file, where this process may make one.
struct LoopDevice(PathBuf);

impl LoopDevice {
    fn new(file: &TempPath) -> Option<Self> {
        let made = Command::new("losetup")
            .args(["--find", "--show", "--sector-size", "4096"])
            .arg(file.get())
            .output()
            .ok()
            .filter(|made| made.status.success());
        let Some(made) = made else {
            eprintln!("SKIPPED: no loop device can be made here (root and loop.ko are needed)");
            return None;
        };
        let path = String::from_utf8(made.stdout).unwrap();
        Some(Self(PathBuf::from(path.trim_end())))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup")
            .arg("--detach")
            .arg(&self.0)
            .status();
    }
}

#[test]
fn a_device_of_4_kib_sectors_is_a_disk_of_512_byte_sectors() {
    let path = TempPath::raw(SIZE);
    let Some(device) = LoopDevice::new(&path) else {
        return;
    };
    for direct in [false, true] {
        for backend in [BlockBackend::Sync, BlockBackend::Auto] {
            let config = BlockConfig {
                path: device.0.clone(),
                direct,
                backend,
                ..BlockConfig::default()
            };
            let block = Arc::new(Block::open(&config).unwrap());
            assert_eq!(told(&block), (512, 3, 8));
            let mut driver = Driver::start(block.clone()).unwrap();
            let mut expected = pattern(64 << 10, u8::from(direct) + 5);
            assert_eq!(write(&mut driver, 0, &expected), 0);
            let bytes = pattern(5 * 512, 77);
            assert_eq!(write(&mut driver, 13, &bytes), 0);
            expected[13 * 512..18 * 512].copy_from_slice(&bytes);
            let zero = [header(request::WRITE_ZEROES, 0), range(30, 21, 0)].concat();
            assert_eq!(ask(&mut driver, &[&zero]), 0);
            expected[30 * 512..51 * 512].fill(0);
            for (first, count) in [(65, 3), (66, 1), (70, 9)] {
                let zero = [header(request::WRITE_ZEROES, 0), range(first, count, 1)].concat();
                assert_eq!(ask(&mut driver, &[&zero]), 0);
                expected[first as usize * 512..][..count as usize * 512].fill(0);
            }
            // Of what is discarded, whole blocks alone.
            let discard = [header(request::DISCARD, 0), range(90, 3, 0)].concat();
            assert_eq!(ask(&mut driver, &[&discard]), 0);
            assert_eq!(flush(&mut driver), 0);
            let (found, status) = read(&mut driver, 0, 64 << 10);
            assert!(status == 0 && found == expected, "{direct} {backend:?}");
            assert_eq!(block.first_error(), None);
        }
    }
}
