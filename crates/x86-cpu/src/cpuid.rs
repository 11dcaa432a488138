//! The CPUID table of one vCPU.

use thiserror::Error;
use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::x86::CpuidEntry;

use crate::leaves::Leaves;
use crate::{
    Bit, Clocks, CpuModel, Feature, Profile, Register, Topology, amd, basic, clocks, dependencies,
    xsave,
};

/// Why a vCPU cannot have the CPUID asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CpuidError {
    /// A profile is for hosts of another vendor.
    #[error("it is for {wanted}, and this host is {host}")]
    Vendor {
        /// The vendor it is for.
        wanted: String,
        /// The host's.
        host: String,
    },
    /// There is no such built-in profile for the host's vendor.
    #[error("there is no {name} for a host of {vendor}")]
    NoBuiltIn {
        /// The profile's name.
        name: &'static str,
        /// The host's vendor.
        vendor: String,
    },
    /// A profile has bits that neither the host nor the hypervisor has.
    #[error("the host has no {}", list(.0))]
    ProfileLacks(Box<[Bit]>),
    /// A profile has a number that the host cannot give.
    #[error(
        "CPUID leaf {function:#x}.{index}, {register} bits {bits} are {wanted:#x}, on this host \
         {host:#x}"
    )]
    ProfileNumber {
        /// The leaf.
        function: u32,
        /// The sub-leaf.
        index: u32,
        /// The register.
        register: Register,
        /// The number's bits in it.
        bits: &'static str,
        /// The profile's number.
        wanted: u32,
        /// The host's.
        host: u32,
    },
    /// A profile has a bit in an MSR that the host does not have.
    #[error("the host has no bit {bit} of MSR {index:#x}")]
    MsrLacks {
        /// The MSR.
        index: u32,
        /// The bit, 0 to 63.
        bit: u32,
    },
    /// A feature was asked for that neither the host nor the hypervisor has.
    #[error("the host has no {0}")]
    Lacking(Feature),
    /// A feature was asked for and one that it builds on was taken away.
    #[error("{0} cannot be had without a feature that was taken away")]
    Excluded(Feature),
    /// The machine decides this feature: by its number of vCPUs, or by having no PMU.
    #[error("{0} follows from the machine, and cannot be chosen: leave it out")]
    Decided(Feature),
    /// The vCPU is not one of the machine's.
    #[error("{vcpu} is not one of the machine's {vcpus}")]
    NoSuchVcpu {
        /// The vCPU.
        vcpu: VcpuId,
        /// How many there are.
        vcpus: u32,
    },
}

/// Makes the CPUID table of the vCPU numbered `vcpu` from the host's, `supported` (`KVM_GET_SUPPORTED_CPUID`), whose
/// topology, APIC numbers and clocks describe the host and not the guest.
///
/// The table is sorted by leaf and sub-leaf, holds none twice, and its highest leaves are those
/// that leaves 0, 0x40000000 and 0x80000000 name. It is made for the hypervisor's own local APIC.
///
/// # Errors
/// [`CpuidError`] if `model` asks for what cannot be had, or `vcpu` is not in `topology`.
pub fn cpuid(
    supported: &[CpuidEntry],
    model: &CpuModel,
    topology: &Topology,
    vcpu: VcpuId,
    clocks: Clocks,
) -> Result<Vec<CpuidEntry>, CpuidError> {
    let vcpus = topology.vcpus();
    if vcpu.0 >= vcpus {
        return Err(CpuidError::NoSuchVcpu { vcpu, vcpus });
    }
    let mut host = Leaves::from_host(supported);
    basic::offer(&mut host);
    let profile = model.profile(&host.vendor())?;
    let mut leaves = match profile {
        Some(profile) => profile.leaves_on(&host)?,
        None => host.clone(),
    };
    apply(model, &mut leaves, &host)?;
    let apic_id = topology.apic_id(vcpu.0);
    basic::describe(&mut leaves, topology, apic_id);
    amd::describe(&mut leaves, topology, apic_id);
    if !model.pmu() && !profile.is_some_and(Profile::has_pmu) {
        basic::hide_pmu(&mut leaves);
        amd::hide_pmu(&mut leaves);
    }
    clocks::describe(&mut leaves, clocks);
    check_decided(model, &leaves)?;
    Ok(leaves.into_entries())
}

/// The machine's own facts (several vCPUs, no PMU) are described last, whatever the model
/// says: a model that says otherwise is refused rather than not obeyed.
fn check_decided(model: &CpuModel, leaves: &Leaves) -> Result<(), CpuidError> {
    let mut absent = model.wanted().filter(|feature| !leaves.has(feature));
    let mut present = model.unwanted().filter(|feature| leaves.has(feature));
    match absent.next().or_else(|| present.next()) {
        Some(feature) => Err(CpuidError::Decided(feature)),
        None => Ok(()),
    }
}

/// Takes away what the model does, with all that builds on it, and checks that what it asks for is
/// there.
fn apply(model: &CpuModel, leaves: &mut Leaves, host: &Leaves) -> Result<(), CpuidError> {
    for feature in model.wanted() {
        if !host.has(&feature) {
            return Err(CpuidError::Lacking(feature));
        }
        leaves.set(&feature);
    }
    // A profile may leave out what another part of it builds on.
    let mut removed = model.is_profile();
    for feature in model.unwanted() {
        leaves.clear(&feature);
        removed = true;
    }
    if removed {
        dependencies::prune(leaves);
        xsave::fit(leaves);
    }
    match model.wanted().find(|feature| !leaves.has(feature)) {
        Some(excluded) => Err(CpuidError::Excluded(excluded)),
        None => Ok(()),
    }
}

/// The first of `bits`, and how many more there are.
fn list(bits: &[Bit]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<_> = bits.iter().take(SHOWN).map(Bit::to_string).collect();
    let more = bits.len().saturating_sub(SHOWN);
    match more {
        0 => shown.join(", "),
        _ => format!("{}, and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests;
