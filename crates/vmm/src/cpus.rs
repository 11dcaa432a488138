//! The vCPUs: created, given their CPUID, MSRs and entry state, and put into loops.

use std::sync::Arc;

use vmmkit_boot_loader::Entry;
use vmmkit_hypervisor::saved::VcpuSaved;
use vmmkit_hypervisor::x86::{CpuidEntry, VcpuState};
use vmmkit_hypervisor::{Error, Hypervisor, Irqchip, SaveVcpu, Vcpu, VcpuId, Vm};
use vmmkit_run_control::{Buses, RunError, VcpuLoop, Vcpus};
use vmmkit_x86_cpu::{
    Clocks, CpuModel, Topology, boot_msrs, check_msrs, check_restored, cpuid, lapic_wiring,
};

use crate::MachineConfig;
use crate::error::BuildError;
use vmmkit_pc_platform::Platform;

/// Where the vCPUs begin.
pub(crate) enum Start<'a> {
    /// The first at the entry of what was loaded; the others wait for INIT.
    Entry(Entry),
    /// Where they were saved, by their numbers.
    Saved(&'a [VcpuSaved]),
}

/// Creates the vCPUs of `config`, which begin at `start`.
pub(crate) fn create(
    supported: &[CpuidEntry],
    vm: &impl Vm,
    config: &MachineConfig,
    platform: &Platform,
    start: &Start<'_>,
) -> Result<Vcpus, BuildError> {
    let msrs = boot_msrs(&config.cpu);
    let topology = config.topology();
    let mut vcpus = Vcpus {
        bodies: Vec::new(),
        kickers: Vec::new(),
    };
    for id in (0..config.vcpus).map(VcpuId) {
        let failed = |source| BuildError::Vcpu { vcpu: id, source };
        let mut vcpu = vm.create_vcpu(topology.id(id.0)).map_err(failed)?;
        let leaves = leaves(supported, &config.cpu, &topology, id, &mut vcpu)?;
        match start {
            Start::Entry(entry) => {
                vcpu.set_cpuid(&leaves).map_err(failed)?;
                vcpu.set_msrs(&msrs).map_err(failed)?;
                set_up(&mut vcpu, id, entry, config.irqchip).map_err(failed)?;
            }
            Start::Saved(saved) => {
                let absent = || failed(Error::Unsupported("a vCPU that was not saved"));
                let saved = saved.get(id.0 as usize).ok_or_else(absent)?;
                check_restored(&saved.cpuid, &leaves)?;
                SaveVcpu::restore(&mut vcpu, saved).map_err(failed)?;
            }
        }
        vcpus.kickers.push(vcpu.kicker());
        let exits = platform.exit_counter(id);
        let buses = Buses {
            views: exits.views(),
            end_of_interrupt: platform.end_of_interrupt().map(|end| Arc::new(end) as _),
        };
        let mut vcpu_loop = VcpuLoop::new(id, vcpu, buses, exits);
        let (cpus, priority) = (config.affinity.get(&id.0).cloned(), config.vcpu_priority);
        vcpus.bodies.push(Box::new(move |thread| {
            if let Some(Err(refused)) = cpus.map(|cpus| cpus.confine_this_thread()) {
                let source = Error::host("sched_setaffinity", refused);
                return Some(Err(RunError::Vcpu { vcpu: id, source }));
            }
            if let Some(Err(refused)) = priority.map(|priority| priority.take_on()) {
                let source = Error::host("sched_setscheduler", refused);
                return Some(Err(RunError::Vcpu { vcpu: id, source }));
            }
            vcpu_loop.run(thread)
        }));
    }
    Ok(vcpus)
}

/// The CPUID of `hypervisor`, once it has the MSRs of the configuration's CPU.
pub(crate) fn supported(
    hypervisor: &impl Hypervisor,
    config: &MachineConfig,
) -> Result<Vec<CpuidEntry>, BuildError> {
    if config.cpu.has_msrs() {
        check_msrs(&config.cpu, &hypervisor.feature_msrs()?)?;
    }
    Ok(hypervisor.supported_cpuid()?)
}

fn leaves(
    supported: &[CpuidEntry],
    model: &CpuModel,
    topology: &Topology,
    id: VcpuId,
    vcpu: &mut impl VcpuState,
) -> Result<Vec<CpuidEntry>, BuildError> {
    let clocks = Clocks {
        tsc_khz: vcpu.tsc_khz().ok(),
        ..Clocks::default()
    };
    Ok(cpuid(supported, model, topology, id, clocks)?)
}

fn set_up<V: Vcpu + VcpuState>(
    vcpu: &mut V,
    id: VcpuId,
    entry: &Entry,
    irqchip: Irqchip,
) -> vmmkit_hypervisor::Result<()> {
    if irqchip != Irqchip::None {
        let mut page = vcpu.lapic()?;
        lapic_wiring(&mut page);
        vcpu.set_lapic(&page)?;
    }
    // The others are started by the guest with INIT and SIPI, and reset by KVM.
    if id == VcpuId(0) {
        let mut special = vcpu.special_registers()?;
        entry.apply(&mut special);
        vcpu.set_special_registers(&special)?;
        vcpu.set_registers(&entry.registers())?;
    }
    Ok(())
}
