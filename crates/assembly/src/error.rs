//! Why a machine cannot be assembled.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use vmmkit_boot_loader::smbios::SmbiosError;
use vmmkit_fuse::DirectoryError;
use vmmkit_guest_memory::RamError;
use vmmkit_host_io::{FileError, HostCpus, TapError, ThreadPriority};
use vmmkit_machine_spec::{Conflict, Field, Invalid};
use vmmkit_virtio_devices::{
    BlockError, ConsoleError, FsError, MemError, NetError, PmemError, VhostUserError, VsockError,
};
use vmmkit_vmm::BuildError;

use crate::files::{FileFault, FileOwner, OutputError};
use crate::{CpuFileError, FlashError};

/// Why a machine cannot be assembled: which field of its specification, and the reason.
#[derive(Debug, Error)]
#[error("{field:?}: {reason}")]
#[non_exhaustive]
pub struct AssemblyError {
    /// The field.
    pub field: Field,
    /// The reason.
    #[source]
    pub reason: Reason,
}

/// Why a field cannot be as it is.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Reason {
    /// It does not go together with others.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The CPU of a file.
    #[error(transparent)]
    CpuFile(#[from] CpuFileError),
    /// Which CPUs of the host this process may use is not known.
    #[error(transparent)]
    HostCpus(io::Error),
    /// A CPU of the host that this process may not use.
    #[error("CPU {cpu} is not one of those that this process may use ({allowed})")]
    CpuNotAllowed {
        /// The CPU.
        cpu: u32,
        /// Those that it may use.
        allowed: HostCpus,
    },
    /// A priority that this process may not have.
    #[error("{priority}: {source}")]
    Priority {
        /// The priority.
        priority: ThreadPriority,
        /// The host's reason.
        source: io::Error,
    },
    /// A console's end or a file for output that cannot be opened.
    #[error(transparent)]
    Open(io::Error),
    /// A file that cannot be written to.
    #[error(transparent)]
    Output(FileError),
    /// The file is that of another field, and one of both would be destroyed.
    #[error("{0:?} is the same file")]
    SameFile(FileOwner),
    /// This process has no descriptor left.
    #[error(transparent)]
    Descriptors(io::Error),
    /// RAM.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// Memory that is plugged while the guest runs.
    #[error(transparent)]
    Mem(#[from] MemError),
    /// A disk.
    #[error(transparent)]
    Disk(#[from] BlockError),
    /// A network interface.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A tap interface that cannot be looked for.
    #[error(transparent)]
    Interface(TapError),
    /// A tap interface that is not there, and may not be made.
    #[error("there is no interface {interface}")]
    NoInterface {
        /// Its name.
        interface: String,
    },
    /// The user's network cannot be had from the [`Host`](crate::Host).
    #[error("the user's network cannot be started")]
    UserNetwork(#[source] io::Error),
    /// Persistent memory.
    #[error(transparent)]
    Pmem(#[from] PmemError),
    /// A virtio console.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// Sockets between guest and host.
    #[error(transparent)]
    Vsock(#[from] VsockError),
    /// The back end of a device.
    #[error(transparent)]
    BackEnd(#[from] VhostUserError),
    /// A shared folder.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The flash chip with the variables of firmware.
    #[error(transparent)]
    Flash(#[from] FlashError),
    /// The file of a credential.
    #[error(transparent)]
    Credential(FileError),
    /// A file of first-boot data.
    #[error("cannot read {}", path.display())]
    CloudInit {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: FileError,
    },
    /// A file of public keys that has none.
    #[error("{}: there is no public key in it", .0.display())]
    NoKey(PathBuf),
    /// A private key where a public one belongs, which the guest would be told.
    #[error("{}: this is a private key", .0.display())]
    PrivateKey(PathBuf),
    /// The file system of first-boot data.
    #[error(transparent)]
    Volume(io::Error),
    /// SMBIOS tables with these texts.
    #[error(transparent)]
    Smbios(#[from] SmbiosError),
    /// The name of a shared folder.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// Why an assembly is not built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AssembleError {
    /// The machine cannot be.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A file for output.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl From<FileFault<'_, FileOwner>> for AssemblyError {
    fn from(fault: FileFault<'_, FileOwner>) -> Self {
        match fault {
            FileFault::Shared { output, other } => Self {
                field: output.field(),
                reason: Reason::SameFile(other.clone()),
            },
            FileFault::Output { owner, source } => Self {
                field: owner.field(),
                reason: Reason::Output(source),
            },
        }
    }
}

impl From<Invalid> for AssemblyError {
    fn from(Invalid { field, conflict }: Invalid) -> Self {
        Self {
            field,
            reason: conflict.into(),
        }
    }
}
