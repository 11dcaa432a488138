//! A machine as data.
//!
//! A [`MachineSpec`] says everything that a person chooses of a machine: what it boots, its CPUs, memory,
//! consoles and devices, and what its end means. It serializes (serde), and each of its parts can be parsed
//! from the value of an option or of a key of a file ([`Given`], `a.img,readonly,queues=2`) and is written as
//! that again by `Display`. [`MachineSpec::check`] finds the parts that do not go together.
//!
//! Nothing here touches the host: no file is opened, no path examined. What of a specification the host
//! cannot give is found by whoever assembles the machine. Errors say which [`Field`], and why, as types; the
//! option, key or member of a request that stands for the field is the front end's.
//!
//! ```
//! use vmmkit_machine_spec::{BootSpec, DeviceSpec, DiskSpec, Given, KernelSpec, MachineSpec};
//!
//! let mut spec = MachineSpec::new(BootSpec::Kernel(KernelSpec::new("vmlinux")));
//! let disk = DiskSpec::parse(&Given::text("root.img,readonly,queues=2"))?;
//! assert_eq!(disk.to_string(), "root.img,readonly,queues=2");
//! spec.devices.push(DeviceSpec::Disk(disk));
//! assert!(spec.check().is_ok());
//! # Ok::<(), vmmkit_machine_spec::Fault>(())
//! ```
#![forbid(unsafe_code)]

#[macro_use]
mod words_of;

mod balloon;
mod boot;
mod check;
mod cloud_init;
mod console;
mod cpu_model;
mod cpus;
mod device;
mod disk;
mod fault;
mod forward;
mod fs;
mod given;
mod memory;
mod nearest;
mod net;
pub mod path_text;
mod platform;
mod pmem;
mod policy;
mod priority;
mod rate;
mod root;
mod serde_text;
mod smbios;
mod spec;
mod vsock;
mod words;

pub use balloon::BalloonSpec;
pub use boot::{BootSpec, Entry, FirmwareSpec, InitrdSpec, KernelSpec, ModuleSpec};
pub use check::{Conflict, Field, Invalid};
pub use cloud_init::CloudInitSpec;
pub use console::ConsoleSpec;
pub use cpu_model::{CpuBase, CpuModelSpec};
pub use cpus::{Affinity, AffinityFault, CpusFault, CpusSpec, VcpusSpec};
pub use device::DeviceSpec;
pub use disk::{DiskBackend, DiskFormat, DiskSpec, OwnDisk};
pub use fault::{Fault, Unknown};
pub use forward::ForwardSpec;
pub use fs::{FsSpec, OwnFs, VhostUserFs};
pub use given::Given;
pub use memory::{BackingSpec, MemoryFault, MemorySpec, Thp, with_unit};
pub use nearest::nearest;
pub use net::{NetAttachmentSpec, NetSpec};
pub use platform::{
    DebugPortSpec, IrqchipPlace, PlatformSpec, Transport, VirtioSpec, switch_value,
};
pub use pmem::PmemSpec;
pub use policy::{ClockAfterPause, OnCrash, OnReboot, PolicySpec};
pub use priority::PrioritySpec;
pub use rate::{RateSpec, per_second};
pub use root::RootSpec;
pub use smbios::{CredentialSpec, CredentialValue, SmbiosSpec, Uuid, UuidError};
pub use spec::MachineSpec;
pub use vsock::VsockSpec;
pub use words::{Words, switch};
