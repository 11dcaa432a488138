//! System calls on scattered ranges of RAM, without a copy in between.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

use vm_memory::bitmap::Bitmap;

use crate::{GuestAddress, GuestRam};

/// A contiguous range of RAM, as one of several that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The address of its first byte.
    pub address: GuestAddress,
    /// Its size in bytes.
    pub length: u32,
}

/// The most segments that one system call takes (IOV_MAX of Linux); more are left for the next.
pub const MAX_SEGMENTS: usize = 1024;

/// Ranges up to this many need no memory from the heap: a packet of 64 KiB in buffers of 1,500 bytes
/// has 44.
const FEW: usize = 64;

impl GuestRam {
    /// Fills the segments from `fd` at `offset`, in their order: preadv(2). Returns how many bytes
    /// came, which may be fewer; 0 at the end of the file.
    ///
    /// # Errors
    /// The host's; [`io::ErrorKind::InvalidInput`] for a segment that is not in RAM. EINTR is tried
    /// again.
    pub fn read_at(&self, fd: impl AsFd, segments: &[Segment], offset: u64) -> io::Result<usize> {
        let fd = fd.as_fd().as_raw_fd();
        let offset = file_offset(offset)?;
        self.fill_from(segments, &mut [], |iovecs, count| {
            // SAFETY: `iovecs` points to `count` iovecs, whose ranges lie in mappings that `self`
            // keeps (`with_iovecs`); the kernel writes to no other memory.
            unsafe { libc::preadv(fd, iovecs, count, offset) }
        })
    }

    /// As [`read_at`](Self::read_at), from what the host has in memory: it does not wait for a disk
    /// (RWF_NOWAIT).
    ///
    /// # Errors
    /// See [`read_at`](Self::read_at); [`io::ErrorKind::WouldBlock`] where the first byte is not in
    /// memory, EOPNOTSUPP where the file cannot be read so.
    pub fn read_at_now(
        &self,
        fd: impl AsFd,
        segments: &[Segment],
        offset: u64,
    ) -> io::Result<usize> {
        let fd = fd.as_fd().as_raw_fd();
        let offset = file_offset(offset)?;
        self.fill_from(segments, &mut [], |iovecs, count| {
            // SAFETY: as in `read_at`.
            unsafe { libc::preadv2(fd, iovecs, count, offset, libc::RWF_NOWAIT) }
        })
    }

    /// Writes the segments to `fd` at `offset`, in their order: pwritev(2). Returns how many bytes
    /// were taken, which may be fewer.
    ///
    /// # Errors
    /// See [`read_at`](Self::read_at).
    pub fn write_at(&self, fd: impl AsFd, segments: &[Segment], offset: u64) -> io::Result<usize> {
        let fd = fd.as_fd().as_raw_fd();
        let offset = file_offset(offset)?;
        self.with_iovecs(segments, &mut [], |iovecs, count| {
            // SAFETY: `iovecs` points to `count` iovecs, whose ranges lie in mappings that `self`
            // keeps (`with_iovecs`); the kernel only reads them.
            unsafe { libc::pwritev(fd, iovecs, count, offset) }
        })
    }

    /// Fills the segments from a stream or a packet device: readv(2). See
    /// [`read_at`](Self::read_at).
    ///
    /// # Errors
    /// See [`read_at`](Self::read_at).
    pub fn receive(&self, fd: impl AsFd, segments: &[Segment]) -> io::Result<usize> {
        self.receive_with_spare(fd, segments, &mut [])
    }

    /// As [`receive`](Self::receive); what the segments have no room for comes into `spare`, so that
    /// a packet larger than they are is not cut. Returns how many bytes came in all. With `spare`,
    /// one segment fewer is taken.
    ///
    /// # Errors
    /// See [`read_at`](Self::read_at).
    pub fn receive_with_spare(
        &self,
        fd: impl AsFd,
        segments: &[Segment],
        spare: &mut [u8],
    ) -> io::Result<usize> {
        let fd = fd.as_fd().as_raw_fd();
        self.fill_from(segments, spare, |iovecs, count| {
            // SAFETY: as in `read_at`; the last iovec may be `spare`, which is borrowed for
            // writing.
            unsafe { libc::readv(fd, iovecs, count) }
        })
    }

    /// Writes the segments to a stream or a packet device: writev(2). See
    /// [`write_at`](Self::write_at).
    ///
    /// # Errors
    /// See [`read_at`](Self::read_at).
    pub fn send(&self, fd: impl AsFd, segments: &[Segment]) -> io::Result<usize> {
        let fd = fd.as_fd().as_raw_fd();
        self.with_iovecs(segments, &mut [], |iovecs, count| {
            // SAFETY: as in `write_at`.
            unsafe { libc::writev(fd, iovecs, count) }
        })
    }

    /// As [`with_iovecs`](Self::with_iovecs), and notes what was written in the dirty log.
    fn fill_from(
        &self,
        segments: &[Segment],
        spare: &mut [u8],
        call: impl Fn(*const libc::iovec, i32) -> isize,
    ) -> io::Result<usize> {
        let filled = self.with_iovecs(segments, spare, call)?;
        let mut left = filled;
        for segment in segments {
            let length = left.min(segment.length as usize);
            if let Ok((mapping, offset)) = self.range(segment.address, length) {
                mapping.bitmap().mark_dirty(offset, length);
            }
            left -= length;
            if left == 0 {
                break;
            }
        }
        Ok(filled)
    }

    /// Calls `call` with iovecs of the segments, each checked to lie in RAM, and of `spare` where it
    /// is not empty, until it is not interrupted.
    fn with_iovecs(
        &self,
        segments: &[Segment],
        spare: &mut [u8],
        call: impl Fn(*const libc::iovec, i32) -> isize,
    ) -> io::Result<usize> {
        let spares = usize::from(!spare.is_empty());
        let count = segments.len().min(MAX_SEGMENTS - spares) + spares;
        let mut few = [const { MaybeUninit::<libc::iovec>::uninit() }; FEW];
        let mut many = Vec::new();
        let iovecs = match few.get_mut(..count) {
            Some(few) => few,
            None => {
                many.resize_with(count, MaybeUninit::uninit);
                many.as_mut_slice()
            }
        };
        // Every one of them is set here: the segments first, `spare` last.
        let mut places = iovecs.iter_mut();
        for segment in segments.iter().take(count - spares) {
            let length = segment.length as usize;
            let (mapping, offset) = self
                .range(segment.address, length)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            places.next().map(|place| {
                place.write(libc::iovec {
                    iov_base: mapping.as_ptr().wrapping_add(offset).cast(),
                    iov_len: length,
                })
            });
        }
        places.next().map(|place| {
            place.write(libc::iovec {
                iov_base: spare.as_mut_ptr().cast(),
                iov_len: spare.len(),
            })
        });
        loop {
            // 1024 at most.
            let answer = call(iovecs.as_ptr().cast(), count as i32);
            match usize::try_from(answer) {
                Ok(length) => return Ok(length),
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
    }
}

fn file_offset(offset: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;
    use crate::{RamConfig, RamSize};

    fn ram() -> GuestRam {
        GuestRam::new(&RamConfig {
            size: RamSize::mebibytes(1),
            dirty_log: true,
            ..RamConfig::default()
        })
        .unwrap()
    }

    fn segment(address: u64, length: u32) -> Segment {
        Segment {
            address: GuestAddress(address),
            length,
        }
    }

    #[test]
    fn a_file_fills_segments_in_their_order_and_takes_them_back() {
        let ram = ram();
        let mut file = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
        file.write_all(b"--0123456789").unwrap();
        let segments = [segment(0x3000, 4), segment(0x1000, 4)];
        assert_eq!(ram.read_at(&file, &segments, 2).unwrap(), 8);
        assert_eq!(ram.read::<[u8; 4]>(GuestAddress(0x3000)), Ok(*b"0123"));
        assert_eq!(ram.read::<[u8; 4]>(GuestAddress(0x1000)), Ok(*b"4567"));
        let mut log = Vec::new();
        ram.take_dirty_pages(0, &mut log);
        assert_eq!(log[0], 1 << 3 | 1 << 1);

        assert_eq!(ram.write_at(&file, &segments, 100).unwrap(), 8);
        let target = [segment(0x5000, 8)];
        assert_eq!(ram.read_at(&file, &target, 100).unwrap(), 8);
        assert_eq!(ram.read::<[u8; 8]>(GuestAddress(0x5000)), Ok(*b"01234567"));
        assert_eq!(ram.read_at(&file, &target, 200).unwrap(), 0);
    }

    #[test]
    fn streams_take_and_give_more_segments_than_fit_on_the_stack() {
        let ram = ram();
        let (reader, writer) = std::io::pipe().unwrap();
        for index in 0..200 {
            ram.write(GuestAddress(index * 16), index as u8).unwrap();
        }
        let from: Vec<_> = (0..200).map(|index| segment(index * 16, 1)).collect();
        assert_eq!(ram.send(&writer, &from).unwrap(), 200);
        assert_eq!(ram.receive(&reader, &[segment(0x8000, 300)]).unwrap(), 200);
        assert_eq!(ram.read::<u8>(GuestAddress(0x8000 + 199)), Ok(199));
    }

    #[test]
    fn what_has_no_room_in_ram_comes_into_the_spare() {
        let ram = ram();
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"0123456789").unwrap();
        let mut spare = [0; 8];
        let few = [segment(0, 3), segment(0x1000, 1)];
        let received = ram.receive_with_spare(&reader, &few, &mut spare).unwrap();
        assert_eq!((received, &spare), (10, b"456789\0\0"));
        assert_eq!(ram.read::<u8>(GuestAddress(0x1000)), Ok(b'3'));

        writer.write_all(&[7; 2000]).unwrap();
        let many: Vec<_> = (0..2000).map(|index| segment(index, 1)).collect();
        let received = ram.receive_with_spare(&reader, &many, &mut spare).unwrap();
        assert_eq!((received, spare), (MAX_SEGMENTS - 1 + 8, [7; 8]));
    }

    #[test]
    fn a_segment_outside_ram_is_refused_before_anything_is_done() {
        let ram = ram();
        let file = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
        let outside = [segment(0, 8), segment((1 << 20) - 4, 8)];
        let error = ram.write_at(&file, &outside, 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(file.metadata().unwrap().len(), 0);
        assert!(ram.read_at(&file, &[segment(0, 1)], u64::MAX).is_err());
    }
}
