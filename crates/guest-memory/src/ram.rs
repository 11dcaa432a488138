//! The RAM of one guest.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use vm_memory::bitmap::AtomicBitmap;
use vm_memory::{
    ByteValued, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
};

use crate::{Layout, RamSize};

/// Where the pages of RAM come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Backing {
    /// Private anonymous memory.
    #[default]
    Anonymous,
    /// A memfd, which other processes may map.
    Memfd,
    /// A file of the host, shared.
    File(PathBuf),
    /// Huge pages of this many bytes from the host's reserve (2 MiB or 1 GiB).
    HugeTlb(u64),
}

/// Advice on transparent huge pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThpAdvice {
    /// The host's own policy.
    #[default]
    Host,
    /// Ask for huge pages.
    Always,
    /// Ask for none.
    Never,
}

/// What RAM a guest gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RamConfig {
    /// How much.
    pub size: RamSize,
    /// From where.
    pub backing: Backing,
    /// Advice on transparent huge pages.
    pub thp: ThpAdvice,
    /// Touch every page before the guest starts.
    pub prefault: bool,
    /// Keep a log of the VMM's own writes.
    pub dirty_log: bool,
}

impl Default for RamConfig {
    fn default() -> Self {
        Self {
            size: RamSize::mebibytes(256),
            backing: Backing::Anonymous,
            thp: ThpAdvice::Host,
            prefault: false,
            dirty_log: false,
        }
    }
}

/// Why RAM could not be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RamError {
    /// The host refused the mapping.
    #[error("cannot map {size} bytes of guest RAM")]
    Map {
        /// Bytes asked for.
        size: u64,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
}

/// An access that is not wholly inside RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{length} bytes at {address:#x} are not all guest RAM")]
pub struct AccessError {
    /// The first address.
    pub address: u64,
    /// The length in bytes.
    pub length: usize,
}

/// One contiguous range of RAM: a memory slot of the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamRegion {
    /// The slot's number.
    pub slot: u32,
    /// The guest-physical address of its first byte.
    pub guest_address: GuestAddress,
    /// Its size in bytes.
    pub size: u64,
    /// The address of its first byte in this process.
    pub host_address: u64,
}

/// The RAM of one guest. Clones share it; it is unmapped when the last one drops.
///
/// Any thread may read and write it at any time, as the guest may: accesses of up to 8 aligned
/// bytes are not torn, larger ones may be.
#[derive(Clone, Debug)]
pub struct GuestRam {
    memory: Arc<GuestMemoryMmap<Option<AtomicBitmap>>>,
    regions: Arc<[RamRegion]>,
}

impl GuestRam {
    /// Maps RAM as `config` says.
    ///
    /// # Errors
    /// [`RamError`] names the size and the host's reason.
    pub fn new(config: &RamConfig) -> Result<Self, RamError> {
        let _ = Layout::of(config.size);
        unimplemented!()
    }

    /// The memory as vm-memory's type, for rust-vmm crates (linux-loader, virtio-queue).
    pub fn memory(&self) -> &GuestMemoryMmap<Option<AtomicBitmap>> {
        &self.memory
    }

    /// The regions, lowest first.
    pub fn regions(&self) -> &[RamRegion] {
        &self.regions
    }

    /// Bytes of RAM in all.
    pub fn size(&self) -> u64 {
        self.regions.iter().map(|region| region.size).sum()
    }

    /// Reads a value.
    ///
    /// # Errors
    /// [`AccessError`] where it is not wholly inside RAM; likewise for all below.
    pub fn read<T: ByteValued>(&self, address: GuestAddress) -> Result<T, AccessError> {
        self.memory
            .read_obj(address)
            .map_err(|_| AccessError { address: address.0, length: size_of::<T>() })
    }

    /// Writes a value.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    pub fn write<T: ByteValued>(&self, address: GuestAddress, value: T) -> Result<(), AccessError> {
        self.memory
            .write_obj(value, address)
            .map_err(|_| AccessError { address: address.0, length: size_of::<T>() })
    }

    /// Fills `bytes` from RAM.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    pub fn read_bytes(&self, address: GuestAddress, bytes: &mut [u8]) -> Result<(), AccessError> {
        let length = bytes.len();
        self.memory
            .read_slice(bytes, address)
            .map_err(|_| AccessError { address: address.0, length })
    }

    /// Copies `bytes` to RAM.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    pub fn write_bytes(&self, address: GuestAddress, bytes: &[u8]) -> Result<(), AccessError> {
        self.memory
            .write_slice(bytes, address)
            .map_err(|_| AccessError { address: address.0, length: bytes.len() })
    }

    /// Whether the `length` bytes at `address` are all RAM.
    pub fn contains(&self, address: GuestAddress, length: u64) -> bool {
        self.regions.iter().any(|region| {
            address.0 >= region.guest_address.0
                && address
                    .0
                    .checked_add(length)
                    .is_some_and(|end| end <= region.guest_address.0 + region.size)
        })
    }
}
