//! A disk by the block device, from the driver's ring through the device's thread and back, beside a
//! plain thread that asks io_uring itself: the same file, sizes and depths, by turns.
//!
//! `cargo bench --bench blk -- [PART]`: on tmpfs (/dev/shm) and in the target directory, there by way of
//! the page cache and past it; only loads whose line has PART in it. Rates per second; the ratio is ours
//! by io_uring's.
#![expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use io_uring::{IoUring, opcode, types};
use vmmkit_benches::driver::{BUFFERS, Driver, Failure, Part};
use vmmkit_benches::side_by_side::{Amount, Turns, compare};
use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig, RamSize};
use vmmkit_virtio_devices::{Block, BlockBackend, BlockConfig};

const FILE_SIZE: u64 = 512 << 20;
/// RAM of the driver, and of the plain thread's buffers.
const RAM: u32 = 64;
/// Where header and status of each request are (virtio 1.2, section 5.2.6).
const HEADS: u64 = 0x1000;
const HEAD_SHARE: u64 = 64;
const STATUS: u64 = 32;
/// Types of requests.
const IN: u32 = 0;
const OUT: u32 = 1;

/// The kernel to be loaded.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    size: u32,
    depth: u16,
    is_write: bool,
    is_random: bool,
}

const fn load(name: &'static str, size: u32, depth: u16, is_write: bool) -> Load {
    Load {
        name,
        size,
        depth,
        is_write,
        is_random: size == SMALL,
    }
}

const SMALL: u32 = 4 << 10;
const LARGE: u32 = 1 << 20;

const LOADS: [Load; 8] = [
    load("4 KiB random read, depth 1", SMALL, 1, false),
    load("4 KiB random read, depth 32", SMALL, 32, false),
    load("4 KiB random write, depth 1", SMALL, 1, true),
    load("4 KiB random write, depth 32", SMALL, 32, true),
    load("1 MiB sequential read, depth 1", LARGE, 1, false),
    load("1 MiB sequential read, depth 8", LARGE, 8, false),
    load("1 MiB sequential write, depth 1", LARGE, 1, true),
    load("1 MiB sequential write, depth 8", LARGE, 8, true),
];

/// Where the next request goes: the same for both sides.
struct Places {
    load: Load,
    state: u64,
}

impl Places {
    fn new(load: Load) -> Self {
        Self {
            load,
            state: 0x9e37_79b9_7f4a_7c15,
        }
    }

    fn next(&mut self) -> u64 {
        let (size, count) = (
            u64::from(self.load.size),
            FILE_SIZE / u64::from(self.load.size),
        );
        if self.load.is_random {
            // xorshift64
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
        } else {
            self.state += 1;
        }
        self.state % count * size
    }
}

/// Where the buffer of request `slot` begins.
fn buffer(load: Load, slot: u16) -> u64 {
    BUFFERS + u64::from(slot) * u64::from(load.size)
}

/// The device and its driver.
struct Ours {
    driver: Driver,
}

impl Ours {
    fn start(path: &Path, direct: bool) -> Result<Self, Failure> {
        let block = Block::open(&BlockConfig {
            path: path.to_owned(),
            direct,
            backend: BlockBackend::Uring,
            ..BlockConfig::default()
        })?;
        Ok(Self {
            driver: Driver::start(Arc::new(block), 0, RAM)?,
        })
    }

    fn run(&mut self, load: Load, length: Duration) -> Result<Amount, Failure> {
        let mut places = Places::new(load);
        for slot in 0..load.depth {
            let (at, buffer) = (HEADS + HEAD_SHARE * u64::from(slot), buffer(load, slot));
            let kind = if load.is_write { OUT } else { IN };
            self.driver.ram.write(GuestAddress(at), kind)?;
            let part = |address, length, writable| Part {
                address,
                length,
                writable,
            };
            self.driver.queue(0)?.describe(
                3 * slot,
                &[
                    part(at, 16, false),
                    part(buffer, load.size, !load.is_write),
                    part(at + STATUS, 1, true),
                ],
            );
            self.offer(slot, &mut places)?;
        }
        self.driver.queue(0)?.publish();
        let mut under_way = load.depth;
        let amount = Amount::of(length, || {
            let done = self.turn(|driver, slot| driver.offer(slot, &mut places))?;
            Ok(done.into())
        })?;
        while under_way > 0 {
            under_way -= self.turn(|_, _| Ok(()))?;
        }
        Ok(amount)
    }

    /// Waits for requests to be done and does `next` with each; how many there were.
    fn turn(
        &mut self,
        mut next: impl FnMut(&mut Self, u16) -> Result<(), Failure>,
    ) -> Result<u16, Failure> {
        self.driver.wait(&[0])?;
        let mut count = 0;
        while let Some((head, _)) = self.driver.queue(0)?.take() {
            let slot = head / 3;
            let status = HEADS + HEAD_SHARE * u64::from(slot) + STATUS;
            if self.driver.ram.read::<u8>(GuestAddress(status))? != 0 {
                return Err("a request failed".into());
            }
            next(self, slot)?;
            count += 1;
        }
        self.driver.queue(0)?.publish();
        Ok(count)
    }

    fn offer(&mut self, slot: u16, places: &mut Places) -> Result<(), Failure> {
        let at = HEADS + HEAD_SHARE * u64::from(slot);
        let sector = places.next() / 512;
        self.driver.ram.write(GuestAddress(at + 8), sector)?;
        self.driver.ram.write(GuestAddress(at + STATUS), 0xff_u8)?;
        self.driver.queue(0)?.offer(3 * slot);
        Ok(())
    }
}

/// A plain thread with a ring. Its file is registered, as the device's is, and nothing else.
struct Plain {
    ring: IoUring,
    ram: GuestRam,
    _file: File,
}

impl Plain {
    fn start(path: &Path, direct: bool) -> Result<Self, Failure> {
        let flags = if direct { libc::O_DIRECT } else { 0 };
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(path)?;
        let ring = IoUring::new(64)?;
        ring.submitter().register_files(&[file.as_raw_fd()])?;
        // Buffers in memory of the same kind.
        let ram = GuestRam::new(&RamConfig {
            size: RamSize::mebibytes(RAM),
            prefault: true,
            ..RamConfig::default()
        })?;
        Ok(Self {
            ring,
            ram,
            _file: file,
        })
    }

    fn run(&mut self, load: Load, length: Duration) -> Result<Amount, Failure> {
        let mut places = Places::new(load);
        for slot in 0..load.depth {
            self.push(load, slot, &mut places)?;
        }
        let mut under_way = u64::from(load.depth);
        let amount = Amount::of(length, || {
            self.turn(load, |plain, slot| plain.push(load, slot, &mut places))
        })?;
        while under_way > 0 {
            under_way -= self.turn(load, |_, _| Ok(()))?;
        }
        Ok(amount)
    }

    fn turn(
        &mut self,
        load: Load,
        mut next: impl FnMut(&mut Self, u16) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        self.ring.submit_and_wait(1)?;
        let mut count = 0;
        loop {
            let Some(entry) = self.ring.completion().next() else {
                return Ok(count);
            };
            if u32::try_from(entry.result()) != Ok(load.size) {
                return Err("a request failed".into());
            }
            next(self, entry.user_data() as u16)?;
            count += 1;
        }
    }

    fn push(&mut self, load: Load, slot: u16, places: &mut Places) -> Result<(), Failure> {
        let at = GuestAddress(buffer(load, slot));
        let address = self.ram.host_address(at, load.size as usize)? as *mut u8;
        let (file, offset) = (types::Fixed(0), places.next());
        let entry = if load.is_write {
            opcode::Write::new(file, address, load.size)
                .offset(offset)
                .build()
        } else {
            opcode::Read::new(file, address, load.size)
                .offset(offset)
                .build()
        };
        // SAFETY: the entry names `load.size` bytes of `self.ram`, as `host_address` checked, which
        // `run` keeps until all requests are done.
        unsafe { self.ring.submission().push(&entry.user_data(slot.into())) }?;
        Ok(())
    }
}

/// Removed when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    /// A file of bytes that are all there.
    fn new(directory: &Path) -> Result<Self, Failure> {
        let scratch = Self(directory.join(format!("vmmkit-bench-{}", std::process::id())));
        let mut file = File::create(&scratch.0)?;
        let piece = vec![0x5a; 1 << 20];
        for _ in 0..FILE_SIZE >> 20 {
            file.write_all(&piece)?;
        }
        file.sync_all()?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn measure(name: &str, directory: &Path, direct: bool, part: &str) -> Result<(), Failure> {
    let scratch = Scratch::new(directory)?;
    for load in LOADS {
        let line = format!("{name}: {}", load.name);
        if !line.contains(part) {
            continue;
        }
        let mut ours = Ours::start(&scratch.0, direct)?;
        let mut plain = Plain::start(&scratch.0, direct)?;
        let outcome = compare(
            Turns::default(),
            |length| ours.run(load, length),
            |length| plain.run(load, length),
        )?;
        println!("{line:45} {outcome}");
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let part = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let part = part.unwrap_or_default();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(directory)?;
    measure("tmpfs", Path::new("/dev/shm"), false, &part)?;
    measure("disk, cached", directory, false, &part)?;
    measure("disk, direct", directory, true, &part)
}
