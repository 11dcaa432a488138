//! RAM whose pages somebody else provides as they are touched (userfaultfd(2)).

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use crate::{Backing, GuestRam, PAGE_SIZE, RamConfig, RamError};

/// The device that gives such descriptors to whoever may open it (Linux 6.1).
const DEVICE: &str = "/dev/userfaultfd";
/// _IO(0xaa, 0) of it.
const NEW: libc::c_ulong = 0xaa00;
/// The version of the interface, and its ioctls: _IOWR(0xaa, 0x3f, 24 bytes) and _IOWR(0xaa, 0, 32 bytes).
const API: u64 = 0xaa;
const SET_API: libc::c_ulong = 0xc018_aa3f;
const REGISTER: libc::c_ulong = 0xc020_aa00;
/// _IOWR(0xaa, 3, 40 bytes) and _IOWR(0xaa, 4, 32 bytes).
const COPY: libc::c_ulong = 0xc028_aa03;
const ZERO: libc::c_ulong = 0xc020_aa04;
/// Pages that are given back are told of (UFFD_FEATURE_EVENT_REMOVE).
const TELLS_REMOVED: u64 = 1 << 3;
/// Faults of pages that are not there (UFFDIO_REGISTER_MODE_MISSING).
const MISSING: u64 = 1;
/// Bytes of a message, and its first one: UFFD_EVENT_PAGEFAULT, UFFD_EVENT_REMOVE.
const MESSAGE: usize = 32;
const FAULT: u8 = 0x12;
const REMOVED: u8 = 0x15;

/// A range of RAM whose pages are provided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultRange {
    /// The address of its first byte in the process whose RAM it is.
    pub host_address: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Where it lies in an [image](GuestRam::write_image) of RAM, in bytes.
    pub offset: u64,
}

/// The descriptor by which pages are provided, for one process: this one, or another that it is sent to.
#[derive(Debug)]
pub struct Faults {
    descriptor: Arc<OwnedFd>,
    ranges: Vec<FaultRange>,
    page_size: u64,
}

impl Faults {
    /// The ranges, lowest address of the guest first.
    pub fn ranges(&self) -> &[FaultRange] {
        &self.ranges
    }

    /// Bytes that are provided at least at once.
    pub fn page_size(&self) -> u64 {
        self.page_size
    }
}

impl AsFd for Faults {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl GuestRam {
    /// RAM as `config` says, of anonymous memory or huge pages, in which nothing is until it is provided: whoever touches
    /// a page waits for it, a vCPU, a device's thread or the kernel, for as long as it takes. Pages that are
    /// [discarded](Self::discard) are told of, which waits too, and are to be zeros from then on.
    ///
    /// # Errors
    /// [`FaultsError`]; EPERM or EACCES of the host for a user who may not open /dev/userfaultfd, and has no
    /// `CAP_SYS_PTRACE`.
    pub fn by_faults(config: &RamConfig) -> Result<(Self, Faults), FaultsError> {
        let page_size = match config.backing {
            Backing::Anonymous => PAGE_SIZE,
            Backing::HugeTlb(size) => size,
            _ => return Err(FaultsError::Backing),
        };
        if config.prefault || config.merge {
            return Err(FaultsError::Backing);
        }
        let descriptor = open().map_err(FaultsError::Host)?;
        let mut ram = Self::new(config)?;
        let mut ranges = Vec::new();
        let mut offset = 0;
        for region in ram.regions() {
            let mut range = [region.host_address, region.size, MISSING, 0];
            ask(descriptor.as_fd(), REGISTER, &mut range).map_err(FaultsError::Host)?;
            ranges.push(FaultRange {
                host_address: region.host_address,
                size: region.size,
                offset,
            });
            offset += region.size;
        }
        let descriptor = Arc::new(descriptor);
        // Without any descriptor left, pages that nobody has provided would be zeros.
        ram.faults = Some(descriptor.clone());
        let faults = Faults {
            descriptor,
            ranges,
            page_size,
        };
        Ok((ram, faults))
    }
}

/// Why RAM cannot be provided as it is touched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FaultsError {
    /// Other memory, or memory that is touched or merged as it is made.
    #[error("only anonymous memory and huge pages are provided, without prefault and merging")]
    Backing,
    /// The host refuses.
    #[error("userfaultfd")]
    Host(#[source] io::Error),
    /// There is no such memory.
    #[error(transparent)]
    Ram(#[from] RamError),
}

/// The other end of [`Faults`], which provides the pages.
#[derive(Debug)]
pub struct PageProvider(OwnedFd);

/// A message to the provider of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageEvent {
    /// Somebody waits for the page with this address.
    Wanted(u64),
    /// The pages from `start` to `end` were given back: zeros from now on.
    Removed {
        /// The first address.
        start: u64,
        /// The address behind the last one.
        end: u64,
    },
}

impl PageProvider {
    /// Of the descriptor that came from the process whose RAM it is.
    pub fn new(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// The next message; `None` where there is none now: the descriptor can be waited for.
    ///
    /// # Errors
    /// The host's, and [`InvalidData`](io::ErrorKind::InvalidData) for a message that is none of the two.
    pub fn next_event(&self) -> io::Result<Option<PageEvent>> {
        let mut message = [0; MESSAGE];
        match rustix::io::read(&self.0, &mut message) {
            Ok(MESSAGE) => {}
            Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let number = |at: usize| {
            let bytes = message.get(at..).and_then(<[u8]>::first_chunk);
            bytes.copied().map_or(0, u64::from_le_bytes)
        };
        match message.first() {
            Some(&FAULT) => Ok(Some(PageEvent::Wanted(number(16)))),
            Some(&REMOVED) => Ok(Some(PageEvent::Removed {
                start: number(8),
                end: number(16),
            })),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Provides `bytes`, of whole pages, at `address` of the other process.
    ///
    /// # Errors
    /// The host's: EEXIST where a page is there already, EAGAIN where some are being given back, ESRCH where
    /// the process is gone.
    pub fn copy(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        let source = bytes.as_ptr() as u64;
        let mut asked = [address, source, bytes.len() as u64, 0, 0];
        ask(self.as_fd(), COPY, &mut asked)
    }

    /// Provides pages of zeros.
    ///
    /// # Errors
    /// As [`copy`](Self::copy).
    pub fn zero(&self, address: u64, length: u64) -> io::Result<()> {
        ask(self.as_fd(), ZERO, &mut [address, length, 0, 0])
    }
}

impl AsFd for PageProvider {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A descriptor for the faults of the kernel too, by which KVM and system calls touch RAM.
fn open() -> io::Result<OwnedFd> {
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    let opened = File::options().read(true).write(true).open(DEVICE);
    let descriptor = match &opened {
        // SAFETY: the call has a number and no pointer.
        Ok(device) => unsafe { libc::ioctl(device.as_raw_fd(), NEW, flags) },
        // SAFETY: as above.
        Err(_) => (unsafe { libc::syscall(libc::SYS_userfaultfd, flags) }) as libc::c_int,
    };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given it, and nobody else has it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    ask(descriptor.as_fd(), SET_API, &mut [API, TELLS_REMOVED, 0])?;
    Ok(descriptor)
}

/// An ioctl of a structure of so many numbers of 64 bits.
fn ask<const N: usize>(
    descriptor: BorrowedFd<'_>,
    request: libc::c_ulong,
    numbers: &mut [u64; N],
) -> io::Result<()> {
    debug_assert_eq!((request >> 16) as usize & 0x3fff, N * size_of::<u64>());
    // SAFETY: the structure has the size that the request says (its bits 16 to 29), and lives through the call. A copy reads
    // the bytes that it names from this process, which `copy` borrows; all else is of the memory that was registered, which
    // is guest RAM: the kernel checks it.
    let done = unsafe { libc::ioctl(descriptor.as_raw_fd(), request, numbers.as_mut_ptr()) };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{GuestAddress, RamSize};

    const BIG: GuestAddress = GuestAddress(2 << 20);

    #[test]
    fn pages_come_from_their_provider_and_are_zero_once_they_were_discarded() {
        let config = RamConfig {
            size: RamSize::mebibytes(16),
            ..RamConfig::default()
        };
        let (ram, faults) = match GuestRam::by_faults(&config) {
            Err(FaultsError::Host(error)) => {
                eprintln!("SKIPPED: userfaultfd: {error}");
                return;
            }
            made => made.unwrap(),
        };
        let [range] = faults.ranges() else {
            panic!("{faults:?}");
        };
        assert_eq!(
            (range.size, range.offset, faults.page_size()),
            (16 << 20, 0, 4096)
        );
        let base = range.host_address;
        let provider = PageProvider::new(faults.as_fd().try_clone_to_owned().unwrap());
        // In a thread of its own: who waits for a page that nobody provides waits for ever.
        let touched = ram.clone();
        let toucher = thread::spawn(move || {
            let ram = touched;
            assert_eq!(
                ram.read::<u64>(GuestAddress(BIG.0 + 8)),
                Ok(0x5a5a_5a5a_5a5a_5a5a)
            );
            ram.write(BIG, 7_u64).unwrap();
            assert_eq!(ram.discard(BIG, 4096), Ok(4096));
            assert_eq!(ram.read::<u64>(BIG), Ok(0));
            assert_eq!(ram.read::<u8>(GuestAddress(3 << 20)), Ok(0x5a));
        });
        let (mut wanted, mut removed) = (Vec::new(), Vec::new());
        while !toucher.is_finished() {
            match provider.next_event().unwrap() {
                None => thread::yield_now(),
                Some(PageEvent::Removed { start, end }) => removed.push((start - base, end - base)),
                Some(PageEvent::Wanted(address)) => {
                    let address = address - address % 4096;
                    wanted.push(address - base);
                    let is_zero = removed
                        .iter()
                        .any(|(start, end)| (start..end).contains(&&(address - base)));
                    match is_zero {
                        true => provider.zero(address, 4096).unwrap(),
                        false => provider.copy(address, &[0x5a; 4096]).unwrap(),
                    }
                }
            }
        }
        toucher.join().unwrap();
        // They are there now. Before, the answer could be that pages were being given back.
        for page in [BIG.0, 3 << 20] {
            let again = provider.copy(base + page, &[1; 4096]).unwrap_err();
            assert_eq!(again.raw_os_error(), Some(libc::EEXIST));
        }
        // Nothing but RAM is written to.
        assert!(provider.copy(base + (16 << 20), &[1; 4096]).is_err());
        assert_eq!(wanted, [BIG.0, BIG.0, 3 << 20]);
        assert_eq!(removed, [(BIG.0, BIG.0 + 4096)]);
    }

    #[test]
    fn memory_that_another_has_is_not_provided() {
        for config in [
            RamConfig {
                backing: Backing::Memfd,
                ..RamConfig::default()
            },
            RamConfig {
                prefault: true,
                ..RamConfig::default()
            },
        ] {
            let refused = GuestRam::by_faults(&config).unwrap_err();
            assert!(matches!(refused, FaultsError::Backing));
        }
    }
}
