//! The traits of `vmmkit-hypervisor` on Linux's /dev/kvm: VMs, vCPUs, interrupts, the dirty log.
//!
//! It decides nothing about a machine: no CPUID policy, no devices, no boot state. Start with
//! [`Kvm::open`], whose errors say how to make KVM usable; the rest is the traits' API. Where KVM is
//! a software one it also makes up for what that lacks ([`Kvm::shortcomings`]), so that Linux boots.
//!
//! It has one effect on the whole process: [opening KVM](KvmOptions::open) installs a handler, which
//! does nothing and stays, for one signal (SIGURG, or the [`KickSignal`] that the embedder chooses).
//! With it another thread takes a vCPU out of the guest. Where the process has a handler for that signal
//! already, opening is refused ([`OpenError::KickSignal`]).
//!
//! ```no_run
//! use vmmkit_guest_memory::{GuestRam, RamConfig};
//! use vmmkit_hypervisor::{Hypervisor, Vcpu, VcpuId, Vm, VmSettings};
//! use vmmkit_hypervisor_kvm::Kvm;
//!
//! let vm = Kvm::open()?.create_vm(&VmSettings::default())?;
//! vm.map_ram(&GuestRam::new(&RamConfig::default())?)?;
//! let mut vcpu = vm.create_vcpu(VcpuId(0))?;
//! println!("{:?}", vcpu.run()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod access;
mod brand;
mod clock;
mod convert;
mod debug;
mod dirty_log;
mod failure;
mod fpu;
mod inner;
mod interrupts;
mod io_events;
mod ioctls;
mod kick;
mod lines;
mod made;
mod msi;
mod open;
mod open_error;
mod patience;
mod probe;
mod routes;
mod run_page;
mod saved;
mod signal;
mod slots;
mod software;
mod state;
mod vcpu;
mod vm;

/// Its `VmFd` and `VcpuFd` are what [`KvmVm::with_fd`] and [`KvmVcpu::with_fd`] hand out; kvm-bindings has the
/// structures that they take.
pub use {kvm_bindings, kvm_ioctls};

pub use access::Access;
pub use open::{Kvm, KvmOptions};
pub use open_error::OpenError;
pub use probe::{
    Finding, ForcedBits, KvmKind, ProbeCache, ProbeReport, Remedy, forced_cpuid, kvm_kind, probe,
    probe_debug,
};
pub use signal::{KickSignal, KickSignalError};
pub use software::SoftwareCounters;
pub use vcpu::KvmVcpu;
pub use vm::KvmVm;
pub use vmmkit_hypervisor::{CmdlineAddition, CmdlineConflict};
