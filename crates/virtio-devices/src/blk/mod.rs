//! The block device (section 5.2): a disk of the host's for the guest.
//!
//! [`Block`] is the device, over a [`Disk`]: a file or block device ([`RawDisk`]), an image
//! ([`Qcow2Disk`]) or memory ([`MemoryDisk`]). Each of its queues has a thread with an engine, which
//! has its requests done by io_uring or does them itself; all engines share the disk. What a
//! request asks for is found out by one pure function, [`parse_block_request`].
//!
//! A FLUSH is complete when everything is durable that was complete before it: it is an fdatasync of
//! the same file, begun after that. Without FLUSH or with `writeback` off (5.2.5.1) each write is
//! durable before it is complete. The host's errors reach the guest as S_IOERR, are counted, and the
//! first one is told.

mod at_once;
mod boot_sector;
mod bounce;
#[cfg(any(feature = "images", feature = "qcow2"))]
mod buffers;
mod config;
mod direct;
mod disk;
mod engine;
mod foreign;
mod hand_over;
#[cfg(feature = "images")]
mod image_disk;
mod in_flight;
mod lock;
mod memory;
mod opened;
mod overlay;
#[cfg(feature = "qcow2")]
mod qcow2;
mod raw;
mod request;
mod resize;
mod segments;
mod shared_blocks;
mod space;
mod spec;
mod state;
mod stats;
mod swappable;
#[cfg(test)]
mod tests;
mod written;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use vmmkit_device_bus::SaveState;
#[cfg(feature = "images")]
use vmmkit_disk_image::Format;
use vmmkit_host_io::Uring;
use vmmkit_telemetry::Tree;
use vmmkit_virtio::{ActivateError, Activation, Active, ConfigChange, Device, DeviceKind, Engine};

use crate::RateLimiter;
use engine::BlockEngine;
use space::Space;
use spec::{SECTOR, feature, request::ID_BYTES};
use stats::Counters;

pub use config::{BlockBackend, BlockConfig, BlockError, DiskFormat};
pub use disk::{Disk, Topology};
pub use foreign::ForeignFormat;
#[cfg(feature = "images")]
pub use image_disk::ImageDisk;
pub use memory::MemoryDisk;
pub use overlay::OverlayDisk;
#[cfg(feature = "qcow2")]
pub use qcow2::{Damage, Qcow2Disk, Qcow2Error};
pub use raw::RawDisk;
pub use request::{BlockLimits, BlockRequest, BlockStatus, parse_block_request};
pub use resize::ResizeError;
pub use stats::BlockStats;
pub use swappable::{SwapError, SwappableDisk};

/// Entries of each queue.
const QUEUE_SIZE: u16 = 256;

/// A disk of the host's for the guest. See the module for what its threads do.
#[derive(Debug)]
pub struct Block {
    queue_sizes: Vec<u16>,
    shared: Arc<Shared>,
    backend: BlockBackend,
    /// Whether the device may do without io_uring.
    may_fall_back: bool,
    change: Mutex<Option<ConfigChange>>,
}

type OnError = Box<dyn Fn(&str) + Send + Sync>;

/// State shared by the device and all its engines.
struct Shared {
    // Fixed at creation
    disk: Arc<dyn Disk>,
    topology: Topology,
    serial: [u8; ID_BYTES],
    // Wiring
    counters: Counters,
    limiter: RateLimiter,
    on_error: OnceLock<OnError>,
    // What the guest can see
    /// Bytes.
    capacity: AtomicU64,
    writeback: AtomicBool,
}

impl Block {
    /// Opens the disk of `config`, locks it and makes a device of it.
    ///
    /// # Errors
    /// [`BlockError`] names the path or the option, the reason and what helps.
    pub fn open(config: &BlockConfig) -> Result<Self, BlockError> {
        let disk = match &config.overlay {
            Some(folder) if !config.read_only => {
                let under = BlockConfig {
                    read_only: true,
                    ..config.clone()
                };
                let overlay = OverlayDisk::new(open_disk(&under)?, folder);
                Arc::new(overlay.map_err(|source| BlockError::Overlay {
                    folder: folder.clone(),
                    source,
                })?)
            }
            _ => open_disk(config)?,
        };
        Self::with_disk(disk, config)
    }

    /// Makes a device of a disk; of `config`, only what does not concern the opening counts.
    ///
    /// # Errors
    /// [`BlockError`] names the option, the reason and what helps.
    pub fn with_disk(disk: Arc<dyn Disk>, config: &BlockConfig) -> Result<Self, BlockError> {
        let serial = config.serial_bytes()?;
        let queues = config.checked_queues()?;
        let backend = choose_backend(config, &*disk)?;
        let topology = config.told(disk.topology())?;
        let shared = Shared {
            capacity: AtomicU64::new(checked_size(&*disk, topology)?),
            disk,
            topology,
            serial,
            counters: Counters::default(),
            limiter: RateLimiter::new(config.rate),
            on_error: OnceLock::new(),
            writeback: AtomicBool::new(true),
        };
        Ok(Self {
            queue_sizes: vec![QUEUE_SIZE; queues.into()],
            shared: Arc::new(shared),
            backend,
            may_fall_back: config.backend == BlockBackend::Auto,
            change: Mutex::new(None),
        })
    }

    /// How the host is asked: [`Sync`](BlockBackend::Sync) or [`Uring`](BlockBackend::Uring).
    pub fn backend(&self) -> BlockBackend {
        self.backend
    }

    /// Bytes of the disk, as the guest knows them.
    pub fn capacity(&self) -> u64 {
        self.shared.capacity.load(Ordering::Relaxed)
    }

    /// The limits, to change them while the device works.
    pub fn rate_limiter(&self) -> &RateLimiter {
        &self.shared.limiter
    }

    /// The counts so far.
    pub fn stats(&self) -> BlockStats {
        self.shared.counters.stats()
    }

    /// The first failure of the host, as a line for a log; [`stats`](Self::stats) counts all.
    pub fn first_error(&self) -> Option<&str> {
        self.shared.counters.first_error()
    }

    /// Calls `tell` with the first failure of the host, on the thread of a queue. Only the first call
    /// of this counts.
    pub fn on_error(&self, tell: impl Fn(&str) + Send + Sync + 'static) {
        let _ = self.shared.on_error.set(Box::new(tell));
    }
}

fn open_disk(config: &BlockConfig) -> Result<Arc<dyn Disk>, BlockError> {
    Ok(match config.disk_format() {
        DiskFormat::Raw => Arc::new(RawDisk::open(config)?),
        #[cfg(feature = "qcow2")]
        DiskFormat::Qcow2 => open_qcow2(config)?,
        #[cfg(feature = "images")]
        DiskFormat::Vdi => Arc::new(ImageDisk::open(config, Format::Vdi)?),
        #[cfg(feature = "images")]
        DiskFormat::Vhd => Arc::new(ImageDisk::open(config, Format::Vhd)?),
        #[cfg(feature = "images")]
        DiskFormat::Vmdk => Arc::new(ImageDisk::open(config, Format::Vmdk)?),
        #[cfg(not(all(feature = "qcow2", feature = "images")))]
        format => {
            return Err(BlockError::NotBuilt {
                path: config.path.clone(),
                format,
            });
        }
    })
}

/// Opens an image of QEMU's; one of a kind that is not written, for reading.
#[cfg(feature = "qcow2")]
fn open_qcow2(config: &BlockConfig) -> Result<Arc<dyn Disk>, BlockError> {
    match Qcow2Disk::open(config) {
        #[cfg(feature = "images")]
        Err(BlockError::Qcow2 { source, .. }) if config.read_only && source.is_readable() => {
            Ok(Arc::new(ImageDisk::open(config, Format::Qcow2)?))
        }
        opened => Ok(Arc::new(opened?)),
    }
}

/// The back end on this host, as far as it can be known before a guest runs.
fn choose_backend(config: &BlockConfig, disk: &dyn Disk) -> Result<BlockBackend, BlockError> {
    match (config.backend, disk.file()) {
        (BlockBackend::Sync, _) | (BlockBackend::Auto, None) => Ok(BlockBackend::Sync),
        (BlockBackend::Uring, None) => Err(BlockError::RawOnly {
            option: "io_uring",
            path: config.path.clone(),
        }),
        (wish, Some(_)) => match Uring::probe() {
            Ok(()) => Ok(BlockBackend::Uring),
            Err(_) if wish == BlockBackend::Auto => Ok(BlockBackend::Sync),
            Err(source) => Err(BlockError::Uring { source }),
        },
    }
}

/// The size of the disk, which must be whole blocks.
fn checked_size(disk: &dyn Disk, topology: Topology) -> Result<u64, BlockError> {
    let size = disk.size().map_err(|source| BlockError::Ask {
        name: disk.name(),
        what: "size",
        source,
    })?;
    if size == 0 && !disk.may_be_empty() {
        return Err(BlockError::Empty { name: disk.name() });
    }
    let block = topology.logical_block.max(SECTOR as u32);
    if !size.is_multiple_of(block.into()) {
        let name = disk.name();
        return Err(BlockError::Size { name, size, block });
    }
    Ok(size)
}

impl Shared {
    fn limits(&self, features: u64) -> BlockLimits {
        BlockLimits {
            capacity: self.capacity.load(Ordering::Relaxed),
            read_only: self.disk.is_read_only(),
            features,
        }
    }

    /// Whether a write must be durable before it is complete (5.2.5.1, 5.2.6.2).
    fn is_writethrough(&self, features: u64) -> bool {
        features & feature::FLUSH == 0
            || (features & feature::CONFIG_WCE != 0 && !self.writeback.load(Ordering::Relaxed))
    }

    /// Counts what became of a request; its status.
    fn account(&self, request: &BlockRequest, result: &io::Result<()>) -> BlockStatus {
        let Err(error) = result else {
            self.counters.done(request);
            return BlockStatus::Ok;
        };
        let first = self.counters.failed(&self.disk.name(), request, error);
        if let (Some(text), Some(tell)) = (first, self.on_error.get()) {
            tell(text);
        }
        BlockStatus::IoError
    }

    /// Has the host take what this process still holds of the disk.
    fn write_back(&self) {
        if let Err(error) = self.disk.write_back() {
            self.account(&BlockRequest::Flush, &Err(error));
        }
    }

    fn space(&self, queues: usize) -> Space {
        Space {
            capacity: self.capacity.load(Ordering::Relaxed),
            topology: self.topology,
            writeback: self.writeback.load(Ordering::Relaxed),
            queues: u16::try_from(queues).unwrap_or(u16::MAX),
        }
    }
}

impl Device for Block {
    fn kind(&self) -> DeviceKind {
        DeviceKind::BLOCK
    }

    fn unsaved(&self) -> Option<&'static str> {
        self.shared.disk.unsaved()
    }

    fn features(&self) -> u64 {
        let mut features =
            feature::SEG_MAX | feature::BLK_SIZE | feature::TOPOLOGY | feature::FLUSH;
        features |= if self.shared.disk.is_read_only() {
            feature::RO
        } else {
            feature::CONFIG_WCE | feature::DISCARD | feature::WRITE_ZEROES
        };
        if self.queue_sizes.len() > 1 {
            features |= feature::MQ;
        }
        features
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        self.shared
            .space(self.queue_sizes.len())
            .read(offset, bytes);
    }

    fn write_config(&self, offset: usize, bytes: &[u8]) {
        // Only `writeback` can be written (5.2.4); other writes are ignored.
        if let (spec::config::WRITEBACK, [value]) = (offset, bytes) {
            self.shared.writeback.store(*value != 0, Ordering::Relaxed);
        }
    }

    fn connect(&self, change: ConfigChange) {
        *self.change.lock() = Some(change);
    }

    fn activate(&self, activation: Activation) -> Result<Box<dyn Active>, ActivateError> {
        let has_many = activation.features & feature::MQ != 0;
        let count = if has_many { self.queue_sizes.len() } else { 1 };
        let mut engines: Vec<(Vec<u16>, Box<dyn Engine>)> = Vec::with_capacity(count);
        for index in (0..QUEUE_SIZE).take(count) {
            let engine = BlockEngine::new(self, &activation, index)?;
            engines.push((vec![index], Box::new(engine)));
        }
        activation.on_threads(engines)
    }

    fn inspect(&self) -> Tree {
        let shared = &self.shared;
        let tree = Tree::new()
            .number("sectors", shared.capacity.load(Ordering::Relaxed))
            .flag("read_only", shared.disk.is_read_only())
            .flag("writeback", shared.writeback.load(Ordering::Relaxed));
        let tree = match self.first_error() {
            Some(error) => tree.text("first_error", error),
            None => tree,
        };
        self.stats().add_to(tree)
    }

    fn reset(&self) {
        self.shared.writeback.store(true, Ordering::Relaxed);
    }

    fn close(&self) {
        // Once more, if it failed when the queues came to rest: the host may have room by now.
        self.shared.write_back();
    }

    fn state(&self) -> Option<&dyn SaveState> {
        Some(self)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("disk", &self.disk)
            .field("capacity", &self.capacity)
            .field("counters", &self.counters)
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}
