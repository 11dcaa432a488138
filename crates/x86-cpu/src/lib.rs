//! The CPUs that a guest sees: CPUID leaves, start-up MSRs, topology and the local APIC's
//! wiring, as pure functions over plain data.
//!
//! It opens nothing and asks no hypervisor: tables go in, tables come out, and a hypervisor back
//! end carries them. Start with [`cpuid`], which makes the table of one vCPU from the host's and
//! a [`CpuModel`].
//!
//! ```
//! use vmmkit_hypervisor::{VcpuId, x86::CpuidEntry};
//! use vmmkit_x86_cpu::{Clocks, CpuModel, Topology, cpuid};
//!
//! let model: CpuModel = "host,-x2apic".parse()?;
//! let host = [CpuidEntry { function: 1, ecx: 1 << 21, ..CpuidEntry::default() }];
//! let guest = cpuid(&host, &model, &Topology::of(2), VcpuId(1), Clocks::default())?;
//!
//! let leaf_1 = guest.iter().find(|leaf| leaf.function == 1).unwrap();
//! assert_eq!(leaf_1.ecx & 1 << 21, 0, "x2APIC was taken away");
//! assert_eq!(leaf_1.ebx >> 24, 1, "the local APIC's number");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod cpuid;

mod feature;
mod model;
mod profile;
mod topology;

mod amd;
mod basic;
mod clocks;
mod dependencies;
mod leaves;
mod restored;
mod xsave;

mod apic;
mod msr;

pub use apic::lapic_wiring;
pub use clocks::Clocks;
pub use cpuid::{CpuidError, cpuid};
pub use feature::{Feature, Register};
pub use model::{CpuModel, CpuModelError};
pub use msr::{boot_msrs, check_msrs};
pub use profile::{Bit, CPU_MSRS, Difference, Profile, ProfileError, ProfileFault};
pub use restored::check_restored;
pub use topology::{Topology, TopologyError};
