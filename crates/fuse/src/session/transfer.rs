//! The contents of files.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{FallocateFlags, fallocate, fdatasync, fsync};
use rustix::io::Errno;

use super::{Session, room_for_data};
use crate::carrier::{Input, Output};
use crate::opcode::{MAX_DATA, OUT_HEADER};
use crate::reply::Done;

/// The modes of fallocate(2) that are passed on: room, perhaps beyond the end, holes, zeroes.
const ALLOCATE: FallocateFlags = FallocateFlags::KEEP_SIZE
    .union(FallocateFlags::PUNCH_HOLE)
    .union(FallocateFlags::ZERO_RANGE);

impl Session {
    pub(super) fn read(
        &mut self,
        handle: u64,
        offset: u64,
        size: u32,
        output: &mut dyn Output,
    ) -> Result<Done, Errno> {
        let file = self.files.file(handle)?;
        let size = size.min(room_for_data(output.room()));
        let mut done = 0;
        // Fewer bytes than asked for are the end of the file to the guest.
        while done < size {
            let at = OUT_HEADER as u64 + u64::from(done);
            let from = offset.checked_add(done.into()).ok_or(Errno::INVAL)?;
            match output.fill(at, file.as_fd(), from, size - done) {
                Ok(0) => break,
                Ok(more) => done = done.saturating_add(more).min(size),
                Err(_) if done > 0 => break,
                Err(error) => return Err(errno(&error)),
            }
        }
        self.counters.count_read(done);
        Ok(Done::Data(done))
    }

    pub(super) fn write(
        &mut self,
        handle: u64,
        offset: u64,
        size: u32,
        input: &mut dyn Input,
    ) -> Result<Done, Errno> {
        let file = self.files.file(handle)?;
        let left = u32::try_from(input.left()).unwrap_or(u32::MAX);
        if size > MAX_DATA || size > left {
            return Err(Errno::INVAL);
        }
        let mut done = 0;
        while done < size {
            let to = offset.checked_add(done.into()).ok_or(Errno::FBIG)?;
            match input.write_to(file.as_fd(), to, size - done) {
                Ok(0) => break,
                Ok(more) => done = done.saturating_add(more).min(size),
                Err(_) if done > 0 => break,
                Err(error) => return Err(errno(&error)),
            }
        }
        self.counters.count_written(done);
        self.answer.u32(done).u32(0);
        Ok(Done::Collected)
    }

    pub(super) fn sync(&mut self, handle: u64, data_only: bool) -> Result<Done, Errno> {
        let file = self.files.file(handle)?;
        match data_only {
            true => fdatasync(&*file)?,
            false => fsync(&*file)?,
        }
        Ok(Done::Collected)
    }

    pub(super) fn sync_directory(&mut self, handle: u64) -> Result<Done, Errno> {
        if let Some(file) = self.files.directory(handle)?.file {
            fsync(&*file)?;
        }
        Ok(Done::Collected)
    }

    pub(super) fn allocate(
        &mut self,
        handle: u64,
        offset: u64,
        length: u64,
        mode: u32,
    ) -> Result<Done, Errno> {
        let file = self.files.file(handle)?;
        let mode = FallocateFlags::from_bits(mode).ok_or(Errno::OPNOTSUPP)?;
        if !ALLOCATE.contains(mode) {
            return Err(Errno::OPNOTSUPP);
        }
        fallocate(&*file, mode, offset, length)?;
        Ok(Done::Collected)
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
