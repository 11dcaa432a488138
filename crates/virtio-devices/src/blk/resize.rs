//! A disk whose size changes under a running guest (virtio 1.2 section 5.2.5: a change of `capacity`
//! is told by a configuration change notification).

use std::io;

use std::sync::atomic::Ordering;

use thiserror::Error;

use super::{Block, BlockError, checked_size};

/// Why a disk keeps the size that the guest knows.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ResizeError {
    /// A disk is not made smaller: what the guest has there would be lost.
    #[error("the disk {name} has {size} bytes and is not made smaller")]
    Smaller {
        /// The disk.
        name: String,
        /// Its size in bytes.
        size: u64,
    },
    /// The size is not whole sectors of the guest's.
    #[error("a disk of {block}-byte sectors has a multiple of that")]
    Fraction {
        /// Bytes of a sector.
        block: u32,
    },
    /// A disk that the guest may only read is not made larger for it.
    #[error("the disk {name} is read-only")]
    ReadOnly {
        /// The disk.
        name: String,
    },
    /// A disk of this kind cannot be made larger from here.
    #[error("the disk {name} has a fixed size: {reason}")]
    Fixed {
        /// The disk.
        name: String,
        /// Why that is so.
        reason: &'static str,
    },
    /// The host does not make it larger.
    #[error("the host does not make the disk {name} larger")]
    Host {
        /// The disk.
        name: String,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// The size that it has now is none that a disk can have, or the host does not tell it.
    #[error(transparent)]
    Size(#[from] BlockError),
}

impl Block {
    /// The disk's size on the host may have changed: asks for it, and tells the driver. Requests that
    /// are under way beyond a new end fail. Returns the size in bytes.
    ///
    /// # Errors
    /// [`BlockError::Ask`] or [`BlockError::Size`]; the guest then keeps the old size.
    pub fn resized(&self) -> Result<u64, BlockError> {
        let change = self.change.lock();
        let size = checked_size(&*self.shared.disk, self.shared.topology)?;
        if self.capacity() != size {
            // Ordering: the driver learns of it by the configuration change, under the transport's lock.
            let store = || self.shared.capacity.store(size, Ordering::Relaxed);
            match &*change {
                Some(change) => change.apply(store),
                None => store(),
            }
        }
        Ok(size)
    }

    /// Makes the disk `size` bytes large where it is smaller, looks at it, and tells the driver what
    /// there is. Without a size the disk is looked at alone. Returns the size in bytes.
    ///
    /// # Errors
    /// [`ResizeError`]; the guest then keeps the old size.
    pub fn resize(&self, size: Option<u64>) -> Result<u64, ResizeError> {
        let (disk, name) = (&self.shared.disk, || self.shared.disk.name());
        if let Some(reason) = disk.fixed_size() {
            return Err(ResizeError::Fixed {
                name: name(),
                reason,
            });
        }
        let Some(size) = size else {
            return Ok(self.resized()?);
        };
        let block = self.shared.topology.logical_block;
        if !size.is_multiple_of(block.into()) {
            return Err(ResizeError::Fraction { block });
        }
        let found = self.resized()?;
        if size < found {
            return Err(ResizeError::Smaller {
                name: name(),
                size: found,
            });
        }
        if size > found {
            if disk.is_read_only() {
                return Err(ResizeError::ReadOnly { name: name() });
            }
            disk.grow(size).map_err(|source| ResizeError::Host {
                name: name(),
                source,
            })?;
        }
        Ok(self.resized()?)
    }
}
