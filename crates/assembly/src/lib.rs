//! From a machine as data to a machine on a host.
//!
//! [`machine_config`] makes the configuration that [`vmmkit_vmm::MachineBuilder`] takes of a
//! [`MachineSpec`](vmmkit_machine_spec::MachineSpec). It looks at the host: files of CPU profiles are read, and
//! what this process may not have is refused. Errors name the [`Field`](vmmkit_machine_spec::Field) of the
//! specification; options and advice are the front end's.
//!
//! ```no_run
//! use vmmkit_machine_spec::{BootSpec, KernelSpec, MachineSpec};
//! use vmmkit_vmm::MachineBuilder;
//!
//! let spec = MachineSpec::new(BootSpec::Kernel(KernelSpec::new("vmlinux")));
//! let builder = MachineBuilder::new(vmmkit_assembly::machine_config(&spec)?);
//! # Ok::<(), vmmkit_assembly::AssemblyError>(())
//! ```
#![forbid(unsafe_code)]

mod config;
mod cpu_model;
mod error;

pub use config::{default_cmdline, machine_config};
pub use cpu_model::{CpuFileError, cpu_model};
pub use error::{AssemblyError, Reason};
