//! Turns a configuration into a running, pausable machine.
//!
//! It composes the crates below it: RAM, the hypervisor's VM and vCPUs, buses and devices, the
//! loaded kernel, and the threads that run them. It is not a hypervisor (the caller passes one, KVM
//! or the fake), not a command line and not a device: it prints nothing, exits nothing, installs no
//! logger and touches no terminal, and any number of machines are one beside the other in a process. A
//! back end may install the handler of one signal, as KVM's does. Start with [`MachineBuilder`]; `examples/boot_linux.rs` boots
//! Linux with nothing else.
//!
//! ```no_run
//! use vmmkit_vmm::{Boot, MachineBuilder, MachineConfig, Outcome};
//!
//! # fn boot(hypervisor: &impl vmmkit_hypervisor::Hypervisor) -> Result<(), Box<dyn std::error::Error>> {
//! let config = MachineConfig { vcpus: 2, ..MachineConfig::new(Boot::kernel("vmlinux")) };
//! let machine = MachineBuilder::new(config).build(hypervisor)?;
//! // Every descriptor is in hand: the place to drop privileges.
//! let outcome = machine.start()?.wait()?;
//! assert_eq!(outcome, Outcome::PowerOff);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod boot;
mod builder;
mod config;
mod console;
mod cpus;
mod devices;
mod error;
mod handle;
mod machine;
mod plug;
mod power;
mod ready;
mod report;
mod snapshot;
mod threads;

pub use boot::{Boot, BootFile, Initrd, KernelBoot, Module};
pub use builder::{MachineBuilder, MemoryPlace};
pub use config::{ConfigError, MachineConfig};
pub use devices::DeviceInfo;
pub use error::{BuildError, RestoreError, StartError};
pub use handle::{Handle, WeakHandle};
pub use machine::{Machine, PauseOutcome, Paused, Running};
pub use ready::Ready;
pub use vmmkit_boot_loader::acpi::{AcpiId, AcpiObject};
pub use vmmkit_boot_loader::{EntryChoice, Oem, mp_table::MpTable, smbios::Smbios};
pub use vmmkit_device_bus::DeviceId;
pub use vmmkit_host_io::{Console, FdInput, InputRead, InputSource, Subscriber};
pub use vmmkit_pc_platform::{
    Ahead, Extent, FREE_MMIO, FREE_PORTS, Needs, NoRoom, OwnDevice, OwnPlace, PartDevice, PciSlot,
    RamSaver, SaveError, SaveRamError, SavedRam, SavedRamError, Slot, VirtioTransport,
};
pub use vmmkit_run_control::{
    ClockPolicy, Event, MachineState, OnCrash, OnReboot, Outcome, PauseError, ResetCause, RunError,
    VcpuDump,
};
