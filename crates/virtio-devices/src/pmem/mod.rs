//! Persistent memory (section 5.19): a file of the host in the guest's address space, which the guest
//! reads and writes without a request, and a queue by which it has it flushed to the disk.

mod engine;
mod error;
mod spec;
mod state;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use vmmkit_device_bus::SaveState;
use vmmkit_guest_memory::{FileRegion, GuestAddress, GuestRam};
use vmmkit_host_io::{LockError, lock_file, open_options};
use vmmkit_telemetry::Tree;
use vmmkit_virtio::{ActivateError, Activation, Active, Device, DeviceKind};

pub use engine::PmemRequest;
use engine::{Counts, PmemEngine};
pub use error::PmemError;

/// A file to show as persistent memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PmemConfig {
    /// A regular file of a whole, non-zero number of 2 MiB pages.
    pub path: PathBuf,
    /// Leave the file as it is: what the guest writes is this process's own, and lost with it. The
    /// file need not be writable then, and several VMs may have it.
    pub discard_writes: bool,
    /// Where the guest finds it: a multiple of 2 MiB, from 4 GiB on and not in RAM. A machine's builder has
    /// such a place.
    pub guest_address: GuestAddress,
    /// The memory slot that the hypervisor gives it: none that RAM or another file has.
    pub slot: u32,
}

/// Counts of events, since the device was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PmemCounters {
    /// Flushes that the guest asked for and got.
    pub flushes: u64,
    /// Times that the host was asked to flush: one serves all flushes that wait together.
    pub syncs: u64,
    /// Flushes that failed.
    pub failed: u64,
    /// Requests that are none.
    pub malformed: u64,
}

/// How the file is brought to the disk.
type SyncFile = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

/// A persistent memory device.
///
/// The VMM maps [`memory`](Self::memory) besides RAM, and gives devices the two
/// [joined](GuestRam::joined): a guest may read a disk into persistent memory.
///
/// A process that shortens the file while it is mapped makes the next access to the lost pages a SIGBUS.
pub struct Pmem {
    memory: GuestRam,
    sync: SyncFile,
    /// The file, which is locked.
    locked: Option<LockedFile>,
    counts: Arc<Counts>,
    config: [u8; spec::CONFIG_SIZE],
}

/// A file with its lock.
struct LockedFile {
    file: Arc<File>,
    path: PathBuf,
    is_shared: bool,
}

impl LockedFile {
    fn lock(&self) -> Result<(), PmemError> {
        let path = self.path.clone();
        match lock_file(&self.file, self.is_shared) {
            Ok(()) => Ok(()),
            Err(LockError::InUse { .. }) => Err(PmemError::InUse { path }),
            Err(LockError::Host(source)) => Err(PmemError::Open { path, source }),
            Err(other) => Err(PmemError::Open {
                path,
                source: io::Error::other(other),
            }),
        }
    }
}

impl Pmem {
    /// Opens, locks and maps the file. The lock (flock(2)) keeps a second VM from a file that one VM
    /// writes.
    ///
    /// # Errors
    /// [`PmemError`] names the file and what to do.
    pub fn open(config: &PmemConfig) -> Result<Self, PmemError> {
        let path = &config.path;
        let failed = |source| PmemError::Open {
            path: path.clone(),
            source,
        };
        let file = open_options()
            .read(true)
            .write(!config.discard_writes)
            .open(path)
            .map_err(failed)?;
        let file = Arc::new(file);
        let locked = LockedFile {
            file: file.clone(),
            path: path.clone(),
            is_shared: config.discard_writes,
        };
        locked.lock()?;
        let mut region = FileRegion::new(file.clone(), config.guest_address, config.slot);
        region.shared = !config.discard_writes;
        let memory = GuestRam::map_file(&region).map_err(|source| PmemError::Map {
            path: path.clone(),
            source,
        })?;
        let sync: SyncFile = if config.discard_writes {
            Arc::new(|| Ok(()))
        } else {
            // Also what was written through the mapping (fsync(2)).
            Arc::new(move || file.sync_data())
        };
        let pmem = Self::of(memory, sync);
        Ok(Self {
            locked: Some(locked),
            ..pmem
        })
    }

    /// Makes durable what the guest has written, and gives up the lock of the file: another process may have it. The
    /// guest must not run until [`take_back`](Self::take_back).
    ///
    /// # Errors
    /// The host's: the file may still be locked, or not; `take_back` is to follow.
    pub fn give_up(&self) -> io::Result<()> {
        (self.sync)()?;
        let locked = self.locked.as_ref();
        locked.map_or(Ok(()), |locked| locked.file.unlock())
    }

    /// Locks the file again: the guest goes on here.
    ///
    /// # Errors
    /// [`PmemError::InUse`]: another process has it, and may have written to it.
    pub fn take_back(&self) -> Result<(), PmemError> {
        self.locked.as_ref().map_or(Ok(()), LockedFile::lock)
    }

    fn of(memory: GuestRam, sync: SyncFile) -> Self {
        let regions = memory.regions().first();
        let (start, size) = regions.map_or((0, 0), |it| (it.guest_address.0, it.size));
        let mut config = [0; spec::CONFIG_SIZE];
        let fields = start.to_le_bytes().into_iter().chain(size.to_le_bytes());
        for (byte, value) in config.iter_mut().zip(fields) {
            *byte = value;
        }
        Self {
            memory,
            sync,
            locked: None,
            counts: Arc::default(),
            config,
        }
    }

    /// The file as memory of the guest, for the hypervisor to map.
    pub fn memory(&self) -> &GuestRam {
        &self.memory
    }

    /// The counters.
    pub fn counters(&self) -> PmemCounters {
        let counts = &self.counts;
        PmemCounters {
            flushes: counts.flushes.load(Ordering::Relaxed),
            syncs: counts.syncs.load(Ordering::Relaxed),
            failed: counts.failed.load(Ordering::Relaxed),
            malformed: counts.malformed.load(Ordering::Relaxed),
        }
    }
}

impl Device for Pmem {
    fn kind(&self) -> DeviceKind {
        DeviceKind::PERSISTENT_MEMORY
    }

    fn memory(&self) -> Option<&GuestRam> {
        Some(&self.memory)
    }

    fn unsaved(&self) -> Option<&'static str> {
        let mut regions = self.memory.regions().iter();
        let is_private = regions.any(|region| self.memory.region_file(region.slot).is_none());
        is_private.then_some("what the guest writes to it is not in its file")
    }

    fn inspect(&self) -> Tree {
        let counters = self.counters();
        Tree::new()
            .number("size", self.memory.size())
            .counter("flushes", counters.flushes)
            .counter("syncs", counters.syncs)
            .counter("failed", counters.failed)
            .counter("malformed", counters.malformed)
    }

    fn queue_sizes(&self) -> &[u16] {
        &[64]
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        for (byte, value) in bytes.iter_mut().zip(self.config.iter().skip(offset)) {
            *byte = *value;
        }
    }

    fn activate(&self, activation: Activation) -> Result<Box<dyn Active>, ActivateError> {
        let engine = PmemEngine::new(self.sync.clone(), self.counts.clone());
        activation.on_one_thread(Box::new(engine))
    }

    fn state(&self) -> Option<&dyn SaveState> {
        Some(self)
    }
}

impl fmt::Debug for Pmem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pmem")
            .field("memory", &self.memory)
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
