mod faults;
mod file_limit;
mod growth;
mod host;
mod no_ring;
mod open;
mod partial_blocks;
mod qcow2_images;
mod requests;
mod stream;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use imago::file::File as Storage;
use imago::qcow2::Qcow2;
use imago::{FormatCreateBuilder, StorageCreateOptions};
use vmmkit_virtio::Device;
use vmmkit_virtio::fake::{Driver, Options};

use super::spec::request;
use super::*;

/// Bytes of the disks of these tests.
pub(super) const SIZE: u64 = 1 << 20;

/// A path that nobody else has; what is there is removed at the end.
#[derive(Clone)]
pub(super) struct TempPath(Arc<Removed>);

struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl TempPath {
    pub(super) fn new(extension: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vmmkit-blk-{}-{number}.{extension}", std::process::id());
        Self(Arc::new(Removed(std::env::temp_dir().join(name))))
    }

    /// A raw file of zeroes.
    pub(super) fn raw(size: u64) -> Self {
        let path = Self::new("raw");
        File::create(path.get()).unwrap().set_len(size).unwrap();
        path
    }

    /// An empty qcow2 image.
    pub(super) fn qcow2(size: u64) -> Self {
        Self::image(size, 64 << 10, 16)
    }

    /// An empty qcow2 image; its clusters in bytes, its refcounts in bits.
    pub(super) fn image(size: u64, cluster_size: usize, refcount_width: usize) -> Self {
        let path = Self::new("qcow2");
        let options = StorageCreateOptions::new().filename(path.get());
        let storage = imago::Storage::create_open(options).unwrap();
        Qcow2::<Storage>::create_builder(storage)
            .size(size)
            .cluster_size(cluster_size)
            .refcount_width(refcount_width)
            .create()
            .unwrap();
        path
    }

    pub(super) fn get(&self) -> &PathBuf {
        &self.0.0
    }

    pub(super) fn config(&self) -> BlockConfig {
        BlockConfig {
            path: self.get().clone(),
            ..BlockConfig::default()
        }
    }
}

/// Every back end, with a disk of [`SIZE`] zero bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BackEnd {
    Memory,
    Sync,
    Uring,
    Direct,
    DirectUring,
    /// A file that takes blocks of 4 KiB alone.
    Blocks,
    BlocksUring,
    Qcow2,
}

impl BackEnd {
    const ALL: [Self; 8] = [
        Self::Memory,
        Self::Sync,
        Self::Uring,
        Self::Direct,
        Self::DirectUring,
        Self::Blocks,
        Self::BlocksUring,
        Self::Qcow2,
    ];

    /// A device, and its file; `None` where the host has no io_uring, or no O_DIRECT on the file
    /// system of temporary files.
    fn block(self, queues: u16) -> Option<(Arc<Block>, Option<TempPath>)> {
        let mut config = BlockConfig {
            queues,
            serial: "disk-of-a-test".to_owned(),
            ..BlockConfig::default()
        };
        if self == Self::Memory {
            let disk = Arc::new(MemoryDisk::new(SIZE as usize));
            return Some((Arc::new(Block::with_disk(disk, &config).unwrap()), None));
        }
        let path = match self {
            Self::Qcow2 => TempPath::qcow2(SIZE),
            _ => TempPath::raw(SIZE),
        };
        config.path = path.get().clone();
        config.direct = matches!(self, Self::Direct | Self::DirectUring);
        config.backend = match self {
            Self::Uring | Self::DirectUring | Self::BlocksUring => BlockBackend::Uring,
            _ => BlockBackend::Sync,
        };
        let opened = match self {
            Self::Blocks | Self::BlocksUring => {
                let disk = RawDisk::open(&config).unwrap().with_blocks(4096);
                Block::with_disk(Arc::new(disk), &config)
            }
            _ => Block::open(&config),
        };
        match opened {
            Ok(block) => Some((Arc::new(block), Some(path))),
            Err(BlockError::Uring { .. } | BlockError::NoDirect { .. }) => None,
            Err(error) => panic!("{self:?}: {error}"),
        }
    }

    /// All of them, with drivers that use one queue.
    fn drivers() -> Vec<(Self, Arc<Block>, Driver, Option<TempPath>)> {
        let started = Self::ALL.into_iter().filter_map(|kind| {
            let (block, path) = kind.block(1)?;
            let driver = Driver::start(block.clone()).unwrap();
            Some((kind, block, driver, path))
        });
        started.collect()
    }
}

fn header(kind: u32, sector: u64) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend([0; 4]);
    bytes.extend(sector.to_le_bytes());
    bytes
}

/// The 16 bytes of a DISCARD or WRITE_ZEROES.
fn range(sector: u64, count: u32, flags: u32) -> Vec<u8> {
    let mut bytes = sector.to_le_bytes().to_vec();
    bytes.extend(count.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes
}

/// The data read and the status.
fn read(driver: &mut Driver, sector: u64, length: usize) -> (Vec<u8>, u8) {
    let mut bytes = driver
        .request(0, &[&header(request::IN, sector)], &[length, 1])
        .unwrap();
    let status = bytes.pop().unwrap();
    (bytes, status)
}

fn write(driver: &mut Driver, sector: u64, bytes: &[u8]) -> u8 {
    ask(driver, &[&header(request::OUT, sector), bytes])
}

/// A request whose only answer is the status.
fn ask(driver: &mut Driver, readable: &[&[u8]]) -> u8 {
    let answer = driver.request(0, readable, &[1]).unwrap();
    assert_eq!(answer.len(), 1);
    answer[0]
}

fn flush(driver: &mut Driver) -> u8 {
    ask(driver, &[&header(request::FLUSH, 0)])
}

pub(super) fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|index| (index as u8).wrapping_mul(31).wrapping_add(seed) | 1)
        .collect()
}
