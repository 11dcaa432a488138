//! From a machine as data to a machine on a host.
//!
//! [`Assembly`] opens what a [`MachineSpec`](vmmkit_machine_spec::MachineSpec) names (files, consoles, sockets,
//! taps, back ends) and builds the machine, with a table of its devices. [`machine_config`] alone makes the
//! configuration that [`vmmkit_vmm::MachineBuilder`] takes. Both look at the host: what this process may not have
//! is refused. Errors name the [`Field`](vmmkit_machine_spec::Field) of the specification; options and advice
//! are the front end's, which is a [`Host`] to the consoles and devices.
//!
//! ```no_run
//! use std::sync::Arc;
//! use vmmkit_assembly::{Assembly, Host, PlainStreams};
//! use vmmkit_machine_spec::{BootSpec, KernelSpec, MachineSpec};
//!
//! # fn run(hypervisor: impl vmmkit_hypervisor::Hypervisor) -> Result<(), Box<dyn std::error::Error>> {
//! let spec = MachineSpec::new(BootSpec::Kernel(KernelSpec::new("vmlinux")));
//! let host: Arc<dyn Host> = Arc::new(PlainStreams);
//! let assembled = Assembly::new(&spec, &host)?.build(&hypervisor)?;
//! assembled.machine.start()?.wait()?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod assembly;
mod config;
mod confinement;
mod consoles;
mod cpu_model;
mod debug_port;
mod devices;
mod error;
mod files;
mod firmware;
mod host;
mod serial;
mod smbios;

pub use assembly::{Assembled, Assembly, GuestConsole, Means};
pub use config::{default_cmdline, machine_config};
pub use confinement::{Child, Confinement, ConfinementError, ThreadKind};
pub use cpu_model::{CpuFileError, cpu_model};
pub use devices::is_bootable;
pub use error::{AssembleError, AssemblyError, Reason};
pub use files::{
    FileFault, FileOwner, NamedFile, OutputError, Outputs, RamFile, Role, Unfinished, check_files,
    device_files, machine_files,
};
pub use firmware::{FlashError, is_uefi_image};
pub use host::{Host, Input, Notice, NoticeKind, PlainStreams};
