//! A disk whose image gives its place to another while a guest uses it.

use std::io;
use std::sync::Arc;

use parking_lot::RwLock;
use thiserror::Error;
use vmmkit_guest_memory::{GuestRam, Segment};

use super::{BlockError, Disk, Topology};

/// A disk whose image gives its place to another while a guest uses it: a change of the medium. Each request is done
/// on one image, whichever has the place when it begins. [`Block::resized`](crate::Block::resized) then tells the driver
/// of the new size. It may be empty, until there is an image.
///
/// Its requests are done by system calls: io_uring keeps to one file.
#[derive(Debug)]
pub struct SwappableDisk(RwLock<Arc<dyn Disk>>);

/// Why a disk keeps its image.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SwapError {
    /// The guest knows whether it may write, which does not change.
    #[error("one of {name} and the image in its place is read-only, and the other is not")]
    ReadOnly {
        /// The other image.
        name: String,
    },
    /// Requests of the guest are in smaller units than the other image takes.
    #[error("{name} takes units of {block} bytes, the image in its place those of {now}")]
    Block {
        /// The other image.
        name: String,
        /// Its smallest unit, in bytes.
        block: u32,
        /// That which the guest knows.
        now: u32,
    },
    /// The guest's last writes cannot be made durable.
    #[error("what was written to {name} does not reach it")]
    Flush {
        /// The image.
        name: String,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
}

impl SwappableDisk {
    /// A disk with this image.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self(RwLock::new(disk))
    }

    /// Has `disk` take the place of the image, what was written to that is flushed. Returns the image that was there,
    /// which requests that are under way may still use.
    ///
    /// # Errors
    /// [`SwapError`]; the image keeps its place.
    pub fn swap(&self, disk: Arc<dyn Disk>) -> Result<Arc<dyn Disk>, SwapError> {
        let mut place = self.0.write();
        let name = || disk.name();
        if disk.is_read_only() != place.is_read_only() {
            return Err(SwapError::ReadOnly { name: name() });
        }
        let (block, now) = (
            disk.topology().logical_block,
            place.topology().logical_block,
        );
        if block > now {
            let name = name();
            return Err(SwapError::Block { name, block, now });
        }
        let flushed = if place.is_read_only() {
            Ok(())
        } else {
            place.flush()
        };
        flushed.map_err(|source| SwapError::Flush {
            name: place.name(),
            source,
        })?;
        Ok(std::mem::replace(&mut *place, disk))
    }

    /// The image. The lock is not held over a request, which may take its time.
    fn now(&self) -> Arc<dyn Disk> {
        self.0.read().clone()
    }
}

impl Disk for SwappableDisk {
    fn name(&self) -> String {
        self.now().name()
    }

    fn size(&self) -> io::Result<u64> {
        self.now().size()
    }

    fn may_be_empty(&self) -> bool {
        true
    }

    fn fixed_size(&self) -> Option<&'static str> {
        self.now().fixed_size()
    }

    fn grow(&self, size: u64) -> io::Result<()> {
        self.now().grow(size)
    }

    fn is_read_only(&self) -> bool {
        self.now().is_read_only()
    }

    fn topology(&self) -> Topology {
        self.now().topology()
    }

    fn read(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()> {
        self.now().read(ram, segments, offset)
    }

    fn write(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()> {
        self.now().write(ram, segments, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.now().flush()
    }

    fn write_back(&self) -> io::Result<()> {
        self.now().write_back()
    }

    fn unsaved(&self) -> Option<&'static str> {
        self.now().unsaved()
    }

    fn unlock(&self) -> io::Result<()> {
        self.now().unlock()
    }

    fn lock_again(&self) -> Result<(), BlockError> {
        self.now().lock_again()
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.now().discard(offset, length)
    }

    fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        self.now().write_zeroes(offset, length, unmap)
    }

    fn is_temporary(&self) -> bool {
        self.now().is_temporary()
    }

    fn buffers_writes(&self) -> bool {
        self.now().buffers_writes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Block, BlockConfig, MemoryDisk};

    #[test]
    fn a_request_is_done_on_the_image_that_has_the_place() {
        let (first, second) = (
            Arc::new(MemoryDisk::new(4096)),
            Arc::new(MemoryDisk::new(8192)),
        );
        let disk = Arc::new(SwappableDisk::new(first.clone()));
        let block = Block::with_disk(disk.clone(), &BlockConfig::default()).unwrap();
        assert_eq!(block.capacity(), 4096);
        let before = disk.swap(second.clone()).unwrap();
        assert_eq!(before.size().unwrap(), 4096);
        assert_eq!((disk.size().unwrap(), block.capacity()), (8192, 4096));
        assert_eq!(block.resized().unwrap(), 8192);
        assert_eq!(Arc::strong_count(&first), 2);
        drop(before);
        assert_eq!(
            (Arc::strong_count(&first), Arc::strong_count(&second)),
            (1, 2)
        );
    }

    #[test]
    fn a_place_may_be_empty_until_there_is_an_image() {
        let disk = Arc::new(SwappableDisk::new(Arc::new(MemoryDisk::new(0))));
        let block = Block::with_disk(disk.clone(), &BlockConfig::default()).unwrap();
        assert_eq!(block.capacity(), 0);
        disk.swap(Arc::new(MemoryDisk::new(512))).unwrap();
        assert_eq!(block.resized().unwrap(), 512);
        let alone: Arc<dyn Disk> = Arc::new(MemoryDisk::new(0));
        assert!(Block::with_disk(alone, &BlockConfig::default()).is_err());
    }
}
