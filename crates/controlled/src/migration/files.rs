//! The disks of a guest that goes: their locks are given up before the target takes them.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;
use vmmkit_virtio_devices::{Block, BlockError, Pmem, PmemError};
use vmmkit_vmm::Handle;

use super::MigrationError;

/// A target that has not got the guest lets go of its disks within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether it has.
const INTERVAL: Duration = Duration::from_millis(20);

/// A device with a file that one process has at a time.
enum Owned {
    Block(Arc<Block>),
    Pmem(Arc<Pmem>),
}

/// A device without its file: another process has that.
#[derive(Debug, Error)]
#[error("{device} has not its file")]
pub(crate) struct Missing {
    /// The device.
    device: String,
    /// The reason.
    #[source]
    source: MissingFile,
}

/// A file that another process has.
#[derive(Debug, Error)]
pub(crate) enum MissingFile {
    /// A disk's.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// That of persistent memory.
    #[error(transparent)]
    Pmem(#[from] PmemError),
}

/// Files whose locks are given up.
pub(crate) struct GivenUp(Vec<(String, Owned)>);

impl GivenUp {
    /// Those of the machine of `handle`, whose devices are at rest; all that was written is durable then.
    pub(crate) fn of(handle: &Handle) -> Result<Self, MigrationError> {
        let mut given = Self(Vec::new());
        for (name, owned) in owned(handle) {
            let result = match &owned {
                Owned::Block(block) => block.give_up(),
                Owned::Pmem(pmem) => pmem.give_up(),
            };
            given.0.push((name.clone(), owned));
            if let Err(source) = result {
                let failure = MigrationError::GiveUp {
                    device: name,
                    source,
                };
                return Err(match given.take_back() {
                    Ok(()) => failure,
                    Err(error) => MigrationError::Stuck {
                        failure: Box::new(failure),
                        error,
                    },
                });
            }
        }
        Ok(given)
    }

    /// They are another process's for good.
    pub(crate) fn leave(self) {
        drop(self);
    }

    /// Locks all of them again, as soon as the target is gone; why that cannot be.
    pub(crate) fn take_back(self) -> Result<(), Missing> {
        let until = Instant::now() + PATIENCE;
        loop {
            match lock(&self.0) {
                Err(_) if Instant::now() < until => thread::sleep(INTERVAL),
                locked => return locked,
            }
        }
    }
}

/// Locks the disks of a guest that stayed paused without them.
pub(crate) fn lock_all(handle: &Handle) -> Result<(), Missing> {
    lock(&owned(handle))
}

fn lock(all: &[(String, Owned)]) -> Result<(), Missing> {
    all.iter().try_for_each(|(name, owned)| {
        let locked = match owned {
            Owned::Block(block) => block.take_back().map_err(MissingFile::from),
            Owned::Pmem(pmem) => pmem.take_back().map_err(MissingFile::from),
        };
        locked.map_err(|source| Missing {
            device: name.clone(),
            source,
        })
    })
}

fn owned(handle: &Handle) -> Vec<(String, Owned)> {
    let named = |device: vmmkit_vmm::DeviceInfo| {
        let block = handle.device::<Block>(&device.name).map(Owned::Block);
        let owned = block.or_else(|| handle.device::<Pmem>(&device.name).map(Owned::Pmem));
        Some((device.name.to_string(), owned?))
    };
    handle.devices().into_iter().filter_map(named).collect()
}
