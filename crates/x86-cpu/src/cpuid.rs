//! The CPUID table of one vCPU.

use thiserror::Error;
use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::x86::CpuidEntry;

use crate::leaves::Leaves;
use crate::{Clocks, CpuModel, Feature, Topology, amd, basic, clocks, dependencies, xsave};

/// Why a vCPU cannot have the CPUID asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CpuidError {
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
    let mut leaves = Leaves::from_host(supported);
    basic::offer(&mut leaves);
    apply(model, &mut leaves)?;
    let apic_id = topology.apic_id(vcpu.0);
    basic::describe(&mut leaves, topology, apic_id);
    amd::describe(&mut leaves, topology, apic_id);
    if !model.pmu() {
        basic::hide_pmu(&mut leaves);
        amd::hide_pmu(&mut leaves);
    }
    clocks::describe(&mut leaves, clocks);
    check_decided(model, &leaves)?;
    Ok(leaves.into_entries())
}

/// What follows from the machine (several vCPUs, no PMU) is described last, whatever the model
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
fn apply(model: &CpuModel, leaves: &mut Leaves) -> Result<(), CpuidError> {
    if let Some(lacking) = model.wanted().find(|feature| !leaves.has(feature)) {
        return Err(CpuidError::Lacking(lacking));
    }
    let mut removed = false;
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

#[cfg(test)]
mod tests;
