//! Why RAM could not be had, and why an access to it failed.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::size::ByteCount;

/// Why RAM could not be made from an image.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Something else than a regular file.
    #[error("not a regular file")]
    NotAFile,
    /// The image of another RAM.
    #[error("{length} bytes, for guest RAM of {size} bytes")]
    Size {
        /// Bytes of the file.
        length: u64,
        /// Bytes of RAM.
        size: u64,
    },
    /// A changed page lies behind the end of RAM.
    #[error("changes up to page {end}, for guest RAM of {size} bytes")]
    Outside {
        /// The page behind the last one that changed.
        end: u64,
        /// Bytes of RAM.
        size: u64,
    },
    /// The file cannot be read.
    #[error("cannot be read")]
    Read(#[source] io::Error),
    /// RAM could not be had.
    #[error(transparent)]
    Ram(#[from] RamError),
}

/// Why it is not known which pages of RAM changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChangesError {
    /// RAM is not mapped from an image.
    #[error("this memory is not mapped from an image")]
    NotMapped,
    /// The host does not say which pages are still those of the image.
    #[error("the host does not say which pages were written (/proc/self/pagemap)")]
    Host(#[source] io::Error),
}

/// Why an embedder's memory cannot be a guest's RAM.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LentMemoryError {
    /// There is no region.
    #[error("memory without a region")]
    Empty,
    /// There are fewer slots than regions.
    #[error("the memory at {address:#x} has no slot")]
    NoSlot {
        /// Where the region without one begins.
        address: u64,
    },
    /// Two regions have one slot.
    #[error("the memory at {first:#x} and at {second:#x} have both slot {slot}")]
    SameSlot {
        /// The slot.
        slot: u32,
        /// Where one region begins.
        first: u64,
        /// Where the other begins.
        second: u64,
    },
    /// The region is not mapped for reading and writing.
    #[error("the memory at {address:#x} cannot be read and written")]
    Access {
        /// Where it begins.
        address: u64,
    },
    /// The region does not consist of whole pages, or reaches past the end of the addresses.
    #[error("the {size} bytes of memory at {address:#x} cannot be a region")]
    Region {
        /// Where it begins.
        address: u64,
        /// Its size in bytes.
        size: u64,
    },
}

/// Why RAM could not be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RamError {
    /// More than the host could ever provide. The limit is the host's memory and swap together;
    /// with prefault, what is available of both now.
    #[error("guest RAM of {} is more than this host can give: {} of {resource}", ByteCount(*size), ByteCount(*limit))]
    MoreThanHost {
        /// Bytes asked for.
        size: u64,
        /// Bytes the host has.
        limit: u64,
        /// The resource that was counted.
        resource: &'static str,
    },
    /// More than a process can map.
    #[error("guest RAM of {} is more than a process can map", ByteCount(*size))]
    AddressSpace {
        /// Bytes asked for.
        size: u64,
    },
    /// The host refused the mapping.
    #[error("cannot map {} of guest RAM", ByteCount(*size))]
    Map {
        /// Bytes asked for.
        size: u64,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// The host refused a memfd of this size.
    #[error("cannot make a memfd of {} for guest RAM", ByteCount(*size))]
    Memfd {
        /// Bytes asked for.
        size: u64,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// The file could not be opened or made large enough.
    #[error("cannot {action} the RAM file {} of {}", path.display(), ByteCount(*size))]
    File {
        /// The action that failed.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Bytes asked for.
        size: u64,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// The path names a directory, a device or a pipe.
    #[error("{} cannot back guest RAM: it is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Another process has it: as the RAM of its guest, or as a disk.
    #[error("the RAM file {} is in use by another guest", path.display())]
    FileInUse {
        /// The file.
        path: PathBuf,
    },
    /// The file holds something of another size, which is not RAM of this guest.
    #[error(
        "the file {} of {length} bytes is not RAM of {size} bytes: it must be empty, or of that size",
        path.display()
    )]
    FileSize {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        length: u64,
        /// Bytes asked for.
        size: u64,
    },
    /// x86-64 has huge pages of 2 MiB and 1 GiB only.
    #[error(
        "{page_size} bytes is not a huge page size: x86-64 has 2097152 (2 MiB) and 1073741824 (1 GiB)"
    )]
    HugePageSize {
        /// The page size asked for, in bytes.
        page_size: u64,
    },
    /// RAM is not a whole number of huge pages.
    #[error("guest RAM of {size} bytes is not a whole number of {page_size}-byte huge pages")]
    HugePageMultiple {
        /// Bytes asked for.
        size: u64,
        /// The page size in bytes.
        page_size: u64,
    },
    /// The host has no huge pages of this size at all.
    #[error("this host has no huge pages of {page_size} bytes")]
    NoHugePages {
        /// The page size asked for, in bytes.
        page_size: u64,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// The host's reserve is too small.
    #[error(
        "guest RAM of {size} bytes needs {needed} free huge pages, the host has {free}: \
         raise {reserve}"
    )]
    HugePages {
        /// Bytes asked for.
        size: u64,
        /// Huge pages that takes.
        needed: u64,
        /// Huge pages that were free and unreserved.
        free: u64,
        /// The file that sizes the reserve, ending in `nr_hugepages`.
        reserve: String,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// The pluggable size is zero, or not a whole number of blocks.
    #[error("{size} bytes of RAM cannot become {max}: that must be more by a multiple of 2 MiB")]
    Max {
        /// Bytes from the start.
        size: u64,
        /// Bytes that it may become.
        max: u64,
    },
    /// The back end has no memory that comes and goes.
    #[error("memory is plugged from anonymous memory or a memfd only")]
    MaxBacking,
    /// Pages of files and memfds are not merged.
    #[error("equal pages are merged in anonymous memory only")]
    MergeShared,
    /// The host's kernel merges no pages.
    #[error("the host's kernel does not merge equal pages (CONFIG_KSM)")]
    Merge(#[source] io::Error),
    /// Touching the pages failed: out of memory, or a full file system.
    #[error("cannot prefault {size} bytes of guest RAM")]
    Prefault {
        /// Bytes asked for.
        size: u64,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
}

/// Why a file cannot be mapped beside RAM.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MapFileError {
    /// The host says nothing about the file.
    #[error("cannot examine the file")]
    Examine(#[source] io::Error),
    /// A directory, a device or a pipe.
    #[error("it is not a regular file")]
    NotAFile,
    /// A file without a byte.
    #[error("the file is empty: make it a multiple of 2 MiB, as with truncate -s 64M")]
    Empty,
    /// Not a whole number of 2 MiB pages, by which guests map such memory.
    #[error("{size} bytes is not a multiple of 2 MiB: extend it with truncate -s {next}")]
    Size {
        /// The file's size in bytes.
        size: u64,
        /// The next size that is one.
        next: u64,
    },
    /// Not a place for it.
    #[error("it cannot be at {address:#x}: that must be a multiple of 2 MiB from 4 GiB on")]
    Address {
        /// The address.
        address: u64,
    },
    /// The host refused the mapping.
    #[error("cannot map {size} bytes of the file")]
    Map {
        /// Its size in bytes.
        size: u64,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// Something else has the address or the slot.
    #[error("{size:#x} bytes at {address:#x} in slot {slot}: the address or the slot is taken")]
    Overlap {
        /// The address.
        address: u64,
        /// The size in bytes.
        size: u64,
        /// The slot.
        slot: u32,
    },
}

/// An access that is not wholly inside RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{length} bytes at {address:#x} are not all guest RAM")]
#[non_exhaustive]
pub struct AccessError {
    /// The first address.
    pub address: u64,
    /// The length in bytes.
    pub length: usize,
}

/// Why 16 bytes of RAM could not be exchanged at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// They are not RAM, or their address is not a multiple of 16.
    #[error("nothing to exchange")]
    Access(#[from] AccessError),
    /// The host's CPU has no CMPXCHG16B.
    #[error("the host's CPU cannot exchange 16 bytes at once (no CMPXCHG16B)")]
    NoInstruction,
}

/// Why RAM could not be filled from a reader.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FillError {
    /// The range is not wholly inside RAM; nothing was read.
    #[error("nowhere to read to")]
    Access(#[from] AccessError),
    /// The reader ended early.
    #[error("only {read} of {length} bytes for {address:#x} could be read before the end")]
    UnexpectedEnd {
        /// The first address.
        address: u64,
        /// Bytes wanted.
        length: usize,
        /// Bytes that came; they are in RAM.
        read: usize,
    },
    /// The reader failed.
    #[error("cannot read {length} bytes for {address:#x}")]
    Read {
        /// The first address.
        address: u64,
        /// Bytes wanted.
        length: usize,
        /// The reader's reason.
        #[source]
        source: io::Error,
    },
}
