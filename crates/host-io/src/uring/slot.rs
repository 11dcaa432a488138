//! One operation of a ring, with what the host needs until it is complete.

use std::io;

use io_uring::{opcode, squeue, types};
use vm_memory::bitmap::Bitmap;
use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::SharedMemory;

/// The most iovecs of one system call (IOV_MAX of Linux).
const MAX_IOVECS: usize = 1024;
/// How often an operation that the host broke off without doing anything is begun again.
const MAX_RESTARTS: u8 = 8;

/// The only file of a ring.
const FILE: types::Fixed = types::Fixed(0);

#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Operation {
    Read,
    Write {
        durable: bool,
    },
    #[default]
    Sync,
    Allocate {
        mode: i32,
        length: u64,
    },
}

/// The meaning of the host's answer.
pub(super) enum Progress {
    /// A part is done; the rest is to be pushed.
    Goes,
    Done(io::Result<()>),
}

#[derive(Default)]
pub(super) struct Slot {
    pub(super) user_data: u64,
    /// How many entries were pushed before its own.
    pub(super) sequence: u64,
    operation: Operation,
    /// Where the rest begins in the file.
    offset: u64,
    /// Bytes of a read or write that are left.
    left: u64,
    iovecs: Vec<libc::iovec>,
    /// The first iovec that is not wholly done.
    first: usize,
    /// The buffers that a read fills.
    filled: Vec<(GuestAddress, u32)>,
    restarts: u8,
}

// SAFETY: the pointers of `iovecs` are to memory that the ring holds, which is mapped for every
// thread of the process, and only the kernel uses them.
unsafe impl Send for Slot {}

impl Slot {
    /// Fills the slot, which must be free.
    pub(super) fn prepare(
        &mut self,
        user_data: u64,
        offset: u64,
        operation: Operation,
        buffers: impl IntoIterator<Item = (GuestAddress, u32)>,
        memory: &SharedMemory<impl Bitmap>,
    ) -> io::Result<()> {
        self.iovecs.clear();
        self.filled.clear();
        self.left = 0;
        for (address, length) in buffers {
            let slice = memory
                .get_slice(address, length as usize)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            self.iovecs.push(libc::iovec {
                iov_base: slice.ptr_guard_mut().as_ptr().cast(),
                iov_len: slice.len(),
            });
            self.left += u64::from(length);
            if matches!(operation, Operation::Read) {
                self.filled.push((address, length));
            }
        }
        self.user_data = user_data;
        self.operation = operation;
        self.offset = offset;
        self.first = 0;
        self.restarts = 0;
        Ok(())
    }

    /// The entry to push for the rest of it.
    #[inline]
    pub(super) fn entry(&self) -> squeue::Entry {
        let rest = self.iovecs.get(self.first..).unwrap_or_default();
        let (iovecs, count) = (rest.as_ptr(), rest.len().min(MAX_IOVECS) as u32);
        match self.operation {
            Operation::Read => opcode::Readv::new(FILE, iovecs, count)
                .offset(self.offset)
                .build(),
            Operation::Write { durable } => opcode::Writev::new(FILE, iovecs, count)
                .offset(self.offset)
                .rw_flags(if durable { libc::RWF_DSYNC } else { 0 })
                .build(),
            Operation::Sync => opcode::Fsync::new(FILE)
                .flags(types::FsyncFlags::DATASYNC)
                .build(),
            Operation::Allocate { mode, length } => opcode::Fallocate::new(FILE, length)
                .offset(self.offset)
                .mode(mode)
                .build(),
        }
    }

    /// Takes the host's answer, which is a length or a negative errno.
    #[inline]
    pub(super) fn advance(&mut self, result: i32, memory: &SharedMemory<impl Bitmap>) -> Progress {
        let Ok(done) = u32::try_from(result) else {
            return self.failed(result);
        };
        let done = u64::from(done).min(self.left);
        match self.operation {
            Operation::Sync | Operation::Allocate { .. } => return Progress::Done(Ok(())),
            Operation::Read => self.mark_dirty(memory),
            Operation::Write { .. } => {}
        }
        self.left -= done;
        if self.left == 0 {
            return Progress::Done(Ok(()));
        }
        if done == 0 {
            let kind = match self.operation {
                Operation::Read => io::ErrorKind::UnexpectedEof,
                _ => io::ErrorKind::WriteZero,
            };
            return Progress::Done(Err(kind.into()));
        }
        self.offset += done;
        self.skip(done as usize);
        Progress::Goes
    }

    fn failed(&mut self, result: i32) -> Progress {
        if matches!(-result, libc::EINTR | libc::EAGAIN) && self.restarts < MAX_RESTARTS {
            self.restarts += 1;
            return Progress::Goes;
        }
        Progress::Done(Err(io::Error::from_raw_os_error(-result)))
    }

    /// Moves `first` and the iovec there on by `done` bytes.
    fn skip(&mut self, mut done: usize) {
        while let Some(iovec) = self.iovecs.get_mut(self.first) {
            if done < iovec.iov_len {
                iovec.iov_base = iovec.iov_base.cast::<u8>().wrapping_add(done).cast();
                iovec.iov_len -= done;
                return;
            }
            done -= iovec.iov_len;
            self.first += 1;
        }
    }

    /// Notes everything that the read fills: a part that is not filled is sent once too often, no
    /// worse.
    fn mark_dirty(&self, memory: &SharedMemory<impl Bitmap>) {
        for (address, length) in &self.filled {
            let length = *length as usize;
            if let Ok(slice) = memory.get_slice(*address, length) {
                slice.bitmap().mark_dirty(0, length);
            }
        }
    }
}
