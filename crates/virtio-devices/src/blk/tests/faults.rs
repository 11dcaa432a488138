//! A host that fails, and what must be durable when.

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use vmmkit_guest_memory::{GuestRam, Segment};
use vmmkit_virtio::fake::hostile::torture;

use super::*;

/// A disk in memory that notes what is asked of it, and fails when it is told to.
#[derive(Debug)]
struct Witness {
    disk: MemoryDisk,
    log: Mutex<Vec<&'static str>>,
    fails: AtomicBool,
}

impl Witness {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            disk: MemoryDisk::new(SIZE as usize),
            log: Mutex::default(),
            fails: AtomicBool::new(false),
        })
    }

    fn note(&self, what: &'static str) -> io::Result<()> {
        self.log.lock().push(what);
        if self.fails.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn log(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.log.lock())
    }
}

impl Disk for Witness {
    fn name(&self) -> String {
        "witness".to_owned()
    }
    fn size(&self) -> io::Result<u64> {
        self.disk.size()
    }
    fn read(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()> {
        self.note("read")?;
        self.disk.read(ram, segments, offset)
    }
    fn write(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()> {
        self.note("write")?;
        self.disk.write(ram, segments, offset)
    }
    fn flush(&self) -> io::Result<()> {
        self.note("flush")
    }
    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.note("discard")?;
        self.disk.discard(offset, length)
    }
    fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        self.note("zero")?;
        self.disk.write_zeroes(offset, length, unmap)
    }
}

fn start(disk: &Arc<Witness>, features: u64) -> (Arc<Block>, Driver) {
    let block = Block::with_disk(disk.clone(), &BlockConfig::default()).unwrap();
    let block = Arc::new(block);
    let options = Options {
        features,
        ..Options::default()
    };
    let driver = Driver::start_with(block.clone(), &options).unwrap();
    (block, driver)
}

#[test]
fn a_failing_host_is_told_to_the_guest_and_once_to_the_log() {
    let disk = Witness::new();
    let (block, mut driver) = start(&disk, u64::MAX);
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = told.clone();
    block.on_error(move |text| log.lock().push(text.to_owned()));
    disk.fails.store(true, Ordering::Relaxed);
    assert_eq!(write(&mut driver, 2, &[1; 512]), 1);
    assert_eq!(read(&mut driver, 2, 512).1, 1);
    assert_eq!(flush(&mut driver), 1);
    for kind in [request::DISCARD, request::WRITE_ZEROES] {
        let change = [header(kind, 0), range(0, 1, 0)].concat();
        assert_eq!(ask(&mut driver, &[&change]), 1);
    }
    // Each was tried once.
    assert_eq!(disk.log(), ["write", "read", "flush", "discard", "zero"]);
    assert_eq!(block.stats().host_errors, 5);
    assert_eq!(block.stats().writes, 0);
    let first = "disk witness: writing 512 bytes at 1024 failed: no storage space";
    assert_eq!(*told.lock(), [first]);
    assert_eq!(block.first_error(), Some(first));
    // The disk has room again, and the guest goes on.
    disk.fails.store(false, Ordering::Relaxed);
    assert_eq!(write(&mut driver, 2, &[1; 512]), 0);
    assert_eq!(block.stats().writes, 1);
}

/// /dev/full, which io_uring may work on.
#[derive(Debug)]
struct Full(File, Arc<Witness>);

impl Disk for Full {
    fn name(&self) -> String {
        "/dev/full".to_owned()
    }
    fn size(&self) -> io::Result<u64> {
        Ok(SIZE)
    }
    fn read(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()> {
        self.1.read(ram, segments, offset)
    }
    fn write(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()> {
        self.1.write(ram, segments, offset)
    }
    fn flush(&self) -> io::Result<()> {
        self.1.flush()
    }
    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.1.discard(offset, length)
    }
    fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        self.1.write_zeroes(offset, length, unmap)
    }
    fn file(&self) -> Option<&File> {
        Some(&self.0)
    }
}

#[test]
fn a_full_host_disk_is_an_error_of_io_uring_too() {
    let file = File::options()
        .read(true)
        .write(true)
        .open("/dev/full")
        .unwrap();
    let witness = Witness::new();
    let disk = Arc::new(Full(file, witness.clone()));
    let config = BlockConfig {
        backend: BlockBackend::Uring,
        ..BlockConfig::default()
    };
    let block = match Block::with_disk(disk, &config) {
        Err(BlockError::Uring { .. }) => return,
        block => Arc::new(block.unwrap()),
    };
    let mut driver = Driver::start(block.clone()).unwrap();
    assert_eq!(write(&mut driver, 0, &[1; 4096]), 1);
    assert_eq!(
        block.first_error().unwrap(),
        "disk /dev/full: writing 4096 bytes at 0 failed: No space left on device (os error 28)"
    );
    assert_eq!(read(&mut driver, 0, 512), (vec![0; 512], 0));
    assert_eq!(block.stats().host_errors, 1);
    assert_eq!(witness.log(), [""; 0]);
}

#[test]
fn a_flush_comes_after_the_writes_that_are_complete_on_any_queue() {
    let disk = Witness::new();
    let config = BlockConfig {
        queues: 4,
        ..BlockConfig::default()
    };
    let block = Arc::new(Block::with_disk(disk.clone(), &config).unwrap());
    let mut driver = Driver::start(block).unwrap();
    for queue in 0..4 {
        let head = header(request::OUT, queue);
        let answer = driver.request(queue as u16, &[&head, &[7; 512]], &[1]);
        assert_eq!(answer.unwrap(), [0]);
    }
    let answer = driver.request(3, &[&header(request::FLUSH, 0)], &[1]);
    assert_eq!(answer.unwrap(), [0]);
    assert_eq!(disk.log(), ["write", "write", "write", "write", "flush"]);
}

#[test]
fn without_flush_or_writeback_each_write_is_durable_5_2_5_1() {
    let disk = Witness::new();
    let (_block, mut driver) = start(&disk, !feature::FLUSH);
    assert_eq!(write(&mut driver, 0, &[1; 512]), 0);
    assert_eq!(disk.log(), ["write", "flush"]);
    let (_block, mut driver) = start(&disk, u64::MAX);
    assert_eq!(write(&mut driver, 0, &[1; 512]), 0);
    driver.set_config(32, &[0]);
    assert_eq!(write(&mut driver, 0, &[1; 512]), 0);
    let zero = [header(request::WRITE_ZEROES, 0), range(0, 1, 0)].concat();
    assert_eq!(ask(&mut driver, &[&zero]), 0);
    driver.set_config(32, &[1]);
    assert_eq!(write(&mut driver, 0, &[1; 512]), 0);
    let expected = ["write", "write", "flush", "zero", "flush", "write"];
    assert_eq!(disk.log(), expected);
}

#[test]
fn writethrough_goes_by_io_uring_too() {
    let Some((block, _path)) = BackEnd::Uring.block(1) else {
        return;
    };
    let options = Options {
        features: !feature::FLUSH,
        ..Options::default()
    };
    let mut driver = Driver::start_with(block, &options).unwrap();
    assert_eq!(write(&mut driver, 5, &pattern(1024, 4)), 0);
    let zero = [header(request::WRITE_ZEROES, 0), range(5, 1, 0)].concat();
    assert_eq!(ask(&mut driver, &[&zero]), 0);
    let (found, status) = read(&mut driver, 5, 1024);
    assert_eq!(status, 0);
    assert_eq!(found, [&[0; 512], &pattern(1024, 4)[512..]].concat());
}

#[test]
fn hostile_drivers_of_a_failing_disk_are_survived() {
    let disk = Witness::new();
    let (block, driver) = start(&disk, u64::MAX);
    drop(driver);
    disk.fails.store(true, Ordering::Relaxed);
    let device: Arc<dyn Device> = block;
    torture(&device, 77, 60).unwrap();
}
