//! The interface of a disk to a block device.

use std::fmt;
use std::fs::File;
use std::io;

use rustix::io::Errno;
use vmmkit_guest_memory::{GuestRam, Segment};

use super::BlockError;

/// The bytes behind a block device. The threads of all queues call it at once; offsets and lengths
/// are in bytes, whole sectors of 512, and within the size that was last asked for.
///
/// A read or write is whole or an error. Errors reach the guest as S_IOERR and are not tried again.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Its name in messages: its path.
    fn name(&self) -> String;

    /// Bytes that it has now. [`Block::resized`](crate::Block::resized) asks again.
    ///
    /// # Errors
    /// The host's.
    fn size(&self) -> io::Result<u64>;

    /// Whether there may be nothing in it.
    fn may_be_empty(&self) -> bool {
        false
    }

    /// Why its size cannot change while a guest uses it, if that is so.
    fn fixed_size(&self) -> Option<&'static str> {
        None
    }

    /// Makes it `size` bytes large, which is more than it has; what is new reads as zeroes.
    ///
    /// # Errors
    /// The host's.
    fn grow(&self, size: u64) -> io::Result<()> {
        let _ = size;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether it cannot be written.
    fn is_read_only(&self) -> bool {
        false
    }

    /// How it wants to be used.
    fn topology(&self) -> Topology {
        Topology::default()
    }

    /// Fills the segments, in their order, from `offset`.
    ///
    /// # Errors
    /// The host's.
    fn read(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()>;

    /// Writes the segments, in their order, to `offset`.
    ///
    /// # Errors
    /// The host's.
    fn write(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()>;

    /// Makes durable what was written before.
    ///
    /// # Errors
    /// The host's.
    fn flush(&self) -> io::Result<()>;

    /// Has the host take what was written and is still in memory of this process, so that nothing is
    /// lost when the process ends; it need not be durable. It is called when the queues come to rest,
    /// for a pause and at the end of the machine, with no request under way.
    ///
    /// # Errors
    /// The host's.
    fn write_back(&self) -> io::Result<()> {
        Ok(())
    }

    /// Why a guest with it cannot go on in another process: it has bytes that are nowhere but here.
    fn unsaved(&self) -> Option<&'static str> {
        None
    }

    /// Gives up its lock, so that another process may have it; nothing is written from then on before
    /// [`lock_again`](Self::lock_again).
    ///
    /// # Errors
    /// The host's.
    fn unlock(&self) -> io::Result<()> {
        Ok(())
    }

    /// Takes the lock that was given up.
    ///
    /// # Errors
    /// [`BlockError`]: another process has it.
    fn lock_again(&self) -> Result<(), BlockError> {
        Ok(())
    }

    /// The contents are not needed any more: gives the space up if it can.
    ///
    /// # Errors
    /// The host's; a disk that cannot do it does nothing.
    fn discard(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Makes it zeroes; with `unmap` the space may be given up.
    ///
    /// # Errors
    /// The host's.
    fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()>;

    /// Whether what is written is gone when the disk is: the machine's state cannot be saved then.
    fn is_temporary(&self) -> bool {
        false
    }

    /// The host's file that has the same bytes at the same offsets, if there is one: io_uring may work
    /// on it.
    fn file(&self) -> Option<&File> {
        None
    }

    /// As [`read`](Self::read), if no disk need be waited for: from what the host has in memory.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where the host has not all of it in memory,
    /// [`io::ErrorKind::Unsupported`] where it never says so. The segments may be filled in part.
    fn read_now(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()> {
        let _ = (ram, segments, offset);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether [`write`](Self::write) goes to the host's memory, and to the disk some time later: it
    /// then takes no longer than the copy, as a rule.
    fn buffers_writes(&self) -> bool {
        false
    }

    /// Whether [`file`](Self::file) takes these segments at `offset` as they lie in RAM.
    fn takes(&self, segments: &[Segment], offset: u64) -> bool {
        let _ = (segments, offset);
        true
    }

    /// Whether a range of [`file`](Self::file) can be discarded or made zeroes as it is.
    fn takes_range(&self, offset: u64, length: u64) -> bool {
        let _ = (offset, length);
        true
    }

    /// Whether this disk's own calls may have to read what is around a change and write it back. They
    /// then wait for each change that was [begun](Self::begin_change), and their caller must have
    /// none under way.
    fn rewrites(&self) -> bool {
        false
    }

    /// A range is about to be changed by way of [`file`](Self::file), until
    /// [`end_change`](Self::end_change). `false`, if what is around another change is being written
    /// back there: this disk's own calls wait for that.
    fn begin_change(&self, offset: u64, length: u64) -> bool {
        let _ = (offset, length);
        true
    }

    /// The change of that range is over, whatever became of it.
    fn end_change(&self, offset: u64, length: u64) {
        let _ = (offset, length);
    }
}

/// How a disk wants to be used. The default fits memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The smallest unit that can be read or written, in bytes: a power of 2 from 512. The guest's
    /// sectors are not smaller.
    pub logical_block: u32,
    /// The unit that is written without reading what was around it, in bytes: a power of 2, not
    /// below the logical block.
    pub physical_block: u32,
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            logical_block: 512,
            physical_block: 4096,
        }
    }
}

/// Whether the host cannot do such a thing at all, as opposed to now.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
        || Errno::from_io_error(error) == Some(Errno::OPNOTSUPP)
}
