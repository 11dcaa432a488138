//! Everything that the configuration of a machine is made of: [`MachineConfig`], the types of its fields, and
//! those that go into the builder beside it.

pub use vmmkit_boot_loader::{EntryChoice, Oem, mp_table::MpTable};
pub use vmmkit_guest_memory::{Backing, RamConfig, RamSize, RamSizeError, ThpAdvice};
pub use vmmkit_host_io::{
    Console, FdInput, HostCpus, HostCpusError, InputSource, OutputBuffer, ThreadPolicy,
    ThreadPriority, ThreadPriorityError, ThreadRole,
};
pub use vmmkit_hypervisor::Irqchip;
#[cfg(feature = "kvm")]
pub use vmmkit_hypervisor_kvm::{KickSignal, KvmOptions};
pub use vmmkit_pc_platform::{Needs, VirtioTransport};
pub use vmmkit_run_control::{ClockPolicy, OnCrash, OnReboot};
pub use vmmkit_vmm::{Boot, BootFile, ConfigError, Initrd, KernelBoot, MachineConfig, Module};
pub use vmmkit_x86_cpu::{
    CpuModel, CpuModelError, Feature, Profile, ProfileError, Topology, TopologyError,
};
