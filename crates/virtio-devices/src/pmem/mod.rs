//! Persistent memory (section 5.19): a file of the host in the guest's address space, which the guest
//! reads and writes without a request, and a queue by which it has it flushed to the disk.

mod engine;
mod error;
mod spec;
mod state;

#[cfg(test)]
mod tests;

use std::fmt;
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
    counts: Arc<Counts>,
    config: [u8; spec::CONFIG_SIZE],
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
        match lock_file(&file, config.discard_writes) {
            Ok(()) => {}
            Err(LockError::InUse { .. }) => return Err(PmemError::InUse { path: path.clone() }),
            Err(LockError::Host(source)) => return Err(failed(source)),
            Err(other) => return Err(failed(io::Error::other(other))),
        }
        let file = Arc::new(file);
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
        Ok(Self::of(memory, sync))
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
