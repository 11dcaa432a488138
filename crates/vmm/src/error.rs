//! Why a machine could not be built or started.

use std::io;

use thiserror::Error;
use vmmkit_boot_loader::{BootPart, LoadError};
use vmmkit_device_bus::{DeviceId, PlugError, StateError};
use vmmkit_guest_memory::RamError;
use vmmkit_hypervisor::VcpuId;
use vmmkit_pc_platform::{PlatformError, SavedRamError};
use vmmkit_x86_cpu::CpuidError;

use crate::{BootFile, ConfigError};

/// Why a machine could not be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The configuration cannot be met.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The guest's RAM could not be had.
    #[error("memory")]
    Ram(#[from] RamError),
    /// A file could not be opened.
    #[error("{part} {file}")]
    Open {
        /// The part of the boot.
        part: BootPart,
        /// The file as given.
        file: BootFile,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// The command line asks for what cannot work on this host.
    #[error("command line")]
    Cmdline(#[from] vmmkit_hypervisor::CmdlineConflict),
    /// The kernel, its initrd or its command line cannot be loaded.
    #[error("kernel {image}")]
    Load {
        /// The kernel or firmware as given.
        image: BootFile,
        /// The loader's reason.
        #[source]
        source: LoadError,
    },
    /// The hypervisor refused the VM.
    #[error("the hypervisor cannot make this machine")]
    Vm(#[from] vmmkit_hypervisor::Error),
    /// The hypervisor refused a vCPU.
    #[error("{vcpu}")]
    Vcpu {
        /// The vCPU.
        vcpu: VcpuId,
        /// The hypervisor's reason.
        #[source]
        source: vmmkit_hypervisor::Error,
    },
    /// The CPU asked for is not one the host can give.
    #[error("cpu")]
    Cpu(#[from] CpuidError),
    /// Two devices want the same place.
    #[error("a device cannot be plugged in")]
    Plug(#[from] PlugError),
    /// Two parts have the same name.
    #[error("two parts are called {id}")]
    Twice {
        /// The name.
        id: DeviceId,
    },
    /// The host has nothing left for a device.
    #[error("{name}")]
    Device {
        /// The device's name in the machine.
        name: String,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// A device has no place on the PCI bus.
    #[error("a device cannot be put on the PCI bus")]
    Pci(#[from] vmmkit_pci::PciError),
    /// The platform cannot be made for another reason.
    #[error(transparent)]
    Platform(PlatformError),
    /// Memory beside RAM cannot be where it is.
    #[error("memory beside RAM")]
    Memory(#[from] vmmkit_guest_memory::MapFileError),
    /// The thread that loads the kernel could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// The console's event could not be made.
    #[error("console")]
    Console(#[source] io::Error),
    /// The event loop could not be made.
    #[error(transparent)]
    EventLoop(#[from] vmmkit_host_io::EventLoopError),
}

impl From<PlatformError> for BuildError {
    fn from(error: PlatformError) -> Self {
        match error {
            PlatformError::Vm(source) => Self::Vm(source),
            PlatformError::Plug(source) => Self::Plug(source),
            PlatformError::Device { name, source } => Self::Device { name, source },
            PlatformError::Pci(source) => Self::Pci(source),
            other => Self::Platform(other),
        }
    }
}

/// Why a machine cannot be restored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The snapshot has a section that nothing in this machine has a use for.
    #[error(transparent)]
    Read(#[from] vmmkit_snapshot::ReadError),
    /// A section is absent, or not one of this machine.
    #[error(transparent)]
    State(#[from] StateError),
    /// The RAM is not that of this machine.
    #[error(transparent)]
    Ram(#[from] SavedRamError),
    /// The machine cannot be built on this host.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// Why a built machine could not be started.
#[derive(Debug, Error)]
#[error("cannot start a thread")]
pub struct StartError(#[from] io::Error);
