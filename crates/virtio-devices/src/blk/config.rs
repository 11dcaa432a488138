//! Configuration of a block device.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use vmmkit_host_io::Holder;

#[cfg(feature = "qcow2")]
use super::Qcow2Error;
use super::spec::request::ID_BYTES;
use super::{ForeignFormat, Topology};
use crate::RateLimit;

/// How a disk is had and shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockConfig {
    /// The file or block device.
    pub path: PathBuf,
    /// The format. `None` goes by the name: qcow2, vdi, vhd or vmdk where it ends so, else raw. It never goes by
    /// the contents, which the guest of a raw disk writes.
    pub format: Option<DiskFormat>,
    /// The guest cannot write it, and other VMs may read it too.
    pub read_only: bool,
    /// Whether what a qcow2 image names as its backing file is opened, for reading, and what that
    /// names in turn: who takes an image from a stranger gives the guest what the image names.
    pub backing: bool,
    /// The folder of a file without a name that what the guest writes goes to: the disk itself stays as it is, and
    /// other VMs may read it too ([`OverlayDisk`](super::OverlayDisk)).
    pub overlay: Option<PathBuf>,
    /// Queues, each with a thread of its own: 1 to 64. One for each vCPU is usual.
    pub queues: u16,
    /// The serial number that the guest reads: up to 20 bytes of ASCII.
    pub serial: String,
    /// Past the host's page cache (O_DIRECT); raw only. Sectors that are smaller than what the host
    /// then writes as a whole are written by reading that, changing it and writing it back.
    pub direct: bool,
    /// Bytes of a sector, as the guest sees it (`blk_size`, virtio 1.2 section 5.2.4): 512 or 4096. The
    /// disk must be a multiple. What is partitioned with sectors of one size cannot be read with the
    /// other.
    pub block_size: u32,
    /// How the host is asked.
    pub backend: BlockBackend,
    /// Limits; they can be changed later.
    pub rate: RateLimit,
}

impl Default for BlockConfig {
    /// A writable raw disk without a path, one queue, no limits.
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            format: None,
            read_only: false,
            backing: false,
            overlay: None,
            queues: 1,
            serial: String::new(),
            direct: false,
            block_size: 512,
            backend: BlockBackend::Auto,
            rate: RateLimit::default(),
        }
    }
}

impl BlockConfig {
    pub(super) fn disk_format(&self) -> DiskFormat {
        self.format.unwrap_or_else(
            || match self.path.extension().and_then(|name| name.to_str()) {
                Some("qcow2") => DiskFormat::Qcow2,
                Some("vdi") => DiskFormat::Vdi,
                Some("vhd") => DiskFormat::Vhd,
                Some("vmdk") => DiskFormat::Vmdk,
                _ => DiskFormat::Raw,
            },
        )
    }

    /// The serial number, filled up with zeroes.
    pub(super) fn serial_bytes(&self) -> Result<[u8; ID_BYTES], BlockError> {
        let mut bytes = [0; ID_BYTES];
        match bytes.get_mut(..self.serial.len()) {
            Some(place) if self.serial.is_ascii() => place.copy_from_slice(self.serial.as_bytes()),
            _ => {
                return Err(BlockError::Serial {
                    serial: self.serial.clone(),
                    most: ID_BYTES,
                });
            }
        }
        Ok(bytes)
    }

    /// The topology that the guest is told of a disk of this topology.
    pub(super) fn told(&self, topology: Topology) -> Result<Topology, BlockError> {
        let size = self.block_size;
        if !BLOCK_SIZES.contains(&size) {
            return Err(BlockError::BlockSize { size });
        }
        let logical_block = topology.logical_block.max(size);
        Ok(Topology {
            logical_block,
            physical_block: topology.physical_block.max(logical_block),
        })
    }

    pub(super) fn checked_queues(&self) -> Result<u16, BlockError> {
        let (count, most) = (self.queues, MAX_QUEUES);
        if !(1..=most).contains(&count) {
            return Err(BlockError::Queues { count, most });
        }
        Ok(count)
    }
}

/// The sizes of a sector in bytes.
const BLOCK_SIZES: [u32; 2] = [512, 4096];

/// The format of a disk's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiskFormat {
    /// The disk itself, byte for byte.
    Raw,
    /// An image of QEMU's format, version 2 or 3; one compressed by zstd, or with extended L2 entries, is only read.
    Qcow2,
    /// VirtualBox's image, which is only read.
    Vdi,
    /// The image of Virtual PC and Hyper-V before VHDX, which is only read.
    Vhd,
    /// VMware's image in one file, which is only read.
    Vmdk,
}

/// How the host is asked to read and write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockBackend {
    /// By io_uring where the host allows it and the disk is raw, else by system calls.
    #[default]
    Auto,
    /// By a system call for each request, on the thread of its queue.
    Sync,
    /// By io_uring.
    Uring,
}

/// The most queues.
const MAX_QUEUES: u16 = 64;

/// Why there is no disk.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The file cannot be opened.
    #[error("cannot open the disk {}{}", path.display(), advice(source, *read_only))]
    Open {
        /// The file.
        path: PathBuf,
        /// Whether only reading was asked for.
        read_only: bool,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// It is a directory, a terminal, a pipe.
    #[error("{} cannot be a disk: it is neither a file nor a block device", path.display())]
    NotADisk {
        /// The path.
        path: PathBuf,
    },
    /// There can be no file for what the guest writes.
    #[error("cannot make a file without a name in {}", folder.display())]
    Overlay {
        /// The folder.
        folder: PathBuf,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// The host uses the block device.
    #[error(
        "the host uses {}: unmount it, or give it to the guest read-only", path.display()
    )]
    HostUses {
        /// The block device.
        path: PathBuf,
    },
    /// Another process has the disk.
    #[error(
        "{} is in use by {}: stop that, or open the disk read-only in both", path.display(),
        holder.as_ref().map_or("another process".to_owned(), Holder::to_string)
    )]
    Locked {
        /// The file.
        path: PathBuf,
        /// The process that has it, where the host tells.
        holder: Option<Holder>,
    },
    /// The host cannot lock it.
    #[error("cannot lock the disk {} against use by another VM", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// The size is not whole blocks.
    #[error("the disk {name} has {size} bytes, which is not a multiple of {block}")]
    Size {
        /// The file.
        name: String,
        /// Its size in bytes.
        size: u64,
        /// The size of a block in bytes.
        block: u32,
    },
    /// The host does not say what the disk is like.
    #[error("cannot ask the host for the {what} of the disk {name}")]
    Ask {
        /// The file.
        name: String,
        /// The request.
        what: &'static str,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// The file system has no O_DIRECT.
    #[error("{} is on a file system without O_DIRECT: leave `direct` off", path.display())]
    NoDirect {
        /// The file.
        path: PathBuf,
    },
    /// The format was not said, and the contents are not a raw disk.
    #[error("{} is not a raw disk by its contents, but {}", path.display(), format.name())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The format it seems to have.
        format: ForeignFormat,
    },
    /// There is nothing in the file.
    #[error("the disk {name} is empty")]
    Empty {
        /// The file.
        name: String,
    },
    /// The crate is built without this format.
    #[error("{} is of the format {format:?}, which this was built without", path.display())]
    NotBuilt {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: DiskFormat,
    },
    /// A format that is only read, of a disk that is to be written.
    #[error("{} can only be read: no image of its format is written", path.display())]
    ReadOnlyFormat {
        /// The file.
        path: PathBuf,
    },
    /// Not an image of the format, or one that is not read.
    #[cfg(feature = "images")]
    #[error("cannot use {} as an image", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: vmmkit_disk_image::ImageError,
    },
    /// Not an image of qcow2, or one with something that is not supported.
    #[cfg(feature = "qcow2")]
    #[error("cannot use {} as a qcow2 image", path.display())]
    Qcow2 {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Qcow2Error,
    },
    /// Only a raw disk can be had so.
    #[error("{option} needs a raw disk, and {} is not: leave it off", path.display())]
    RawOnly {
        /// The option.
        option: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The host has no io_uring for this process.
    #[error("io_uring cannot be had{}", uring_advice(source))]
    Uring {
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// The serial number cannot be had.
    #[error("the serial number {serial:?} has {} bytes: up to {most} of ASCII can be", serial.len())]
    Serial {
        /// It.
        serial: String,
        /// The most bytes.
        most: usize,
    },
    /// Sectors of another size than 512 and 4096 bytes.
    #[error("sectors of {size} bytes for a disk: 512 or 4096 can be")]
    BlockSize {
        /// Bytes.
        size: u32,
    },
    /// So many queues cannot be had.
    #[error("{count} queues for a disk: 1 to {most} can be")]
    Queues {
        /// How many.
        count: u16,
        /// The most.
        most: u16,
    },
}

fn advice(error: &io::Error, read_only: bool) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem if !read_only => {
            " for writing: change its permissions, or open it read-only"
        }
        _ => "",
    }
}

fn uring_advice(error: &io::Error) -> &'static str {
    if vmmkit_host_io::Uring::is_refused(error) {
        ": this host does not allow it (sysctl kernel.io_uring_disabled, or a filter of system \
         calls); choose `auto` or `sync`"
    } else {
        ""
    }
}
