//! Abilities of a VM and a vCPU, as small traits over plain data with typed exits, so that a VMM is
//! written once and runs on any back end.
//!
//! It holds no policy (which CPUID, which boot state) and calls no host: back ends do, KVM's is
//! `vmmkit-hypervisor-kvm`. Start with [`Hypervisor`], then [`Vm`] and [`Vcpu`].
//!
//! ```
//! use vmmkit_hypervisor::{Result, Vcpu, VcpuExit};
//!
//! /// Runs until the guest halts; answers every read with zeros.
//! fn run_to_halt(vcpu: &mut impl Vcpu) -> Result<()> {
//!     loop {
//!         match vcpu.run()? {
//!             VcpuExit::Halt => return Ok(()),
//!             VcpuExit::PortRead(_) | VcpuExit::MmioRead(_) => vcpu.data().fill(0),
//!             _ => {}
//!         }
//!     }
//! }
//! ```
//!
//! # Another architecture
//!
//! [`x86`] and [`saved`] are the parts that know a CPU; all the rest compiles for any. For another one, aarch64 say, a
//! module beside [`x86`] has its registers and an interrupt controller's settings, [`Irqchip`] gets its kinds,
//! [`Vm::Vcpu`] the traits of its state instead of [`x86::VcpuState`] and [`x86::ClockControl`], [`VcpuExit`] the
//! exits that only it has, and the conformance suite guests in its code. [`Vcpu`], [`Interrupts`], [`IoEvents`],
//! [`DirtyLog`] and the fake stay as they are: a GSI is an interrupt of the GIC there, and no guest has ports.
#![forbid(unsafe_code)]

mod cmdline;
pub mod conformance;
mod error;
mod exit;
mod exits;
pub mod fake;
mod hypervisor;
pub mod saved;
mod vcpu;
mod vm;
pub mod x86;

pub use cmdline::{CmdlineAddition, CmdlineConflict};
pub use error::{Error, Result};
pub use exit::{FailEntry, InternalError, MmioAccess, PortAccess, SystemEvent, VcpuExit, Width};
pub use exits::{ExitCounter, VcpuExits};
pub use hypervisor::{Capabilities, Hypervisor, Irqchip, VmSettings};
pub use saved::{SaveVcpu, SaveVm};
pub use vcpu::{Devices, Kick, Vcpu, VcpuId};
pub use vm::{DatamatchWidth, DirtyLog, GuestClock, Interrupts, IoEventAddress, IoEvents, Vm};
pub use vmmkit_device_bus::{MsiMessage, MsiVector};
