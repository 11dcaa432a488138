//! The configuration of the machine that a specification describes.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use vmmkit_boot_loader::unified_cmdline;
use vmmkit_guest_memory::RamConfig;
use vmmkit_host_io::{HostCpus, ThreadPriority};
use vmmkit_hypervisor::Irqchip;
use vmmkit_machine_spec::{
    BootSpec, ClockAfterPause, Entry, Field, IrqchipPlace, KernelSpec, MachineSpec, OnCrash,
    OnReboot, PlatformSpec, Transport,
};
use vmmkit_vmm::{
    Boot, ClockPolicy, EntryChoice, Initrd, KernelBoot, MachineConfig, Module, MpTable,
    VirtioTransport,
};

use crate::{AssemblyError, Reason, cpu_model, firmware, smbios};

/// The configuration of the machine that `spec` describes. Nothing is opened but the files of a CPU profile
/// and of credentials and, where no command line is given, the kernel.
///
/// # Errors
/// [`AssemblyError`]: the first field that cannot be so, by itself or on this host.
pub fn machine_config(spec: &MachineSpec) -> Result<MachineConfig, AssemblyError> {
    spec.check()?;
    let of = |field| move |reason| AssemblyError { field, reason };
    let affinity = affinity(spec).map_err(of(Field::Affinity))?;
    let priority = spec.cpus.priority;
    for priority in [priority.vcpu, priority.io].into_iter().flatten() {
        try_out(priority).map_err(of(Field::Priority))?;
    }
    let cpu = cpu_model(&spec.cpus.model).map_err(|error| of(Field::CpuModel)(error.into()))?;
    let platform = &spec.platform;
    let smbios = smbios::smbios(spec)?;
    let transport = transport(spec);
    let ram = RamConfig {
        hole_start: transport.hole_start(),
        ..spec.memory.config(spec.needs_shared_memory())
    };
    Ok(MachineConfig {
        smbios,
        ram,
        vcpus: spec.cpus.vcpus.count(),
        topology: spec.cpus.vcpus.topology(),
        affinity,
        vcpu_priority: priority.vcpu,
        cpu,
        acpi: platform.acpi,
        mp_table: match platform.mp_table {
            true => MpTable::Always,
            false => MpTable::Auto,
        },
        irqchip: irqchip(platform),
        virtio: transport,
        packed: platform.virtio.packed,
        on_reboot: match spec.policy.on_reboot {
            OnReboot::Exit | OnReboot::Fail => vmmkit_vmm::OnReboot::Exit,
            OnReboot::Reboot => vmmkit_vmm::OnReboot::Reboot,
        },
        on_crash: match spec.policy.on_crash {
            OnCrash::Exit => vmmkit_vmm::OnCrash::Exit,
            OnCrash::Reboot => vmmkit_vmm::OnCrash::Reboot,
            OnCrash::Pause => vmmkit_vmm::OnCrash::Pause,
        },
        clock_after_pause: match spec.policy.clock_after_pause {
            ClockAfterPause::Keep => ClockPolicy::Keep,
            ClockAfterPause::CatchUp => ClockPolicy::CatchUp,
        },
        ..named(spec, MachineConfig::new(boot(spec)))
    })
}

/// `config` with the name of `spec` and the policy of its threads.
fn named(spec: &MachineSpec, mut config: MachineConfig) -> MachineConfig {
    if let Some(name) = &spec.name {
        config.name.clone_from(name);
    }
    config.threads.device_priority = spec.cpus.priority.io;
    config
}

fn boot(spec: &MachineSpec) -> Boot {
    let kernel = match &spec.boot {
        BootSpec::Firmware(firmware) => return Boot::Firmware((&firmware.image).into()),
        BootSpec::Kernel(kernel) => kernel,
    };
    let module = |module: &vmmkit_machine_spec::ModuleSpec| Module {
        file: (&module.path).into(),
        arguments: module.arguments.clone(),
    };
    let cmdline = kernel.cmdline.clone();
    Boot::Kernel(KernelBoot {
        image: (&kernel.image).into(),
        initrd: kernel.initrd.as_ref().map(|initrd| Initrd {
            file: (&initrd.path).into(),
            any: initrd.any,
        }),
        modules: kernel.modules.iter().map(module).collect(),
        cmdline: cmdline.unwrap_or_else(|| default_cmdline(spec, kernel)),
        entry: match kernel.entry {
            Entry::Auto => EntryChoice::Auto,
            Entry::Payload => EntryChoice::Payload,
            Entry::Setup => EntryChoice::Setup,
            Entry::Pvh => EntryChoice::Pvh,
            Entry::Multiboot => EntryChoice::Multiboot,
        },
    })
}

/// The command line of `kernel` in the machine that `spec` describes, where it is given none: that of the
/// machine, and then the one that a unified kernel image has with it.
pub fn default_cmdline(spec: &MachineSpec, kernel: &KernelSpec) -> String {
    let cmdline = spec.default_cmdline();
    match of_image(&kernel.image) {
        Some(own) => format!("{cmdline} {own}"),
        None => cmdline,
    }
}

fn of_image(image: &Path) -> Option<String> {
    // Opening what is not a regular file could wait for ever; the loader refuses it by its kind.
    let is_file = image.metadata().is_ok_and(|data| data.is_file());
    let file = is_file.then(|| File::open(image).ok()).flatten()?;
    unified_cmdline(&file)
}

/// UEFI firmware is made for one machine with PCI.
fn transport(spec: &MachineSpec) -> VirtioTransport {
    match spec.platform.virtio.transport {
        Transport::Mmio => VirtioTransport::Mmio,
        Transport::Pci if firmware::is_uefi(spec) => VirtioTransport::Q35,
        Transport::Pci => VirtioTransport::Pci,
    }
}

/// A kernel without ACPI looks for a PC's interrupt controllers and timer, which split ones are not.
fn irqchip(platform: &PlatformSpec) -> Irqchip {
    match platform.irqchip {
        IrqchipPlace::Split => Irqchip::Split,
        IrqchipPlace::Kernel => Irqchip::InKernel {
            pit: platform.legacy_timer.unwrap_or(true),
        },
    }
}

fn affinity(spec: &MachineSpec) -> Result<BTreeMap<u32, HostCpus>, Reason> {
    let Some(affinity) = &spec.cpus.affinity else {
        return Ok(BTreeMap::new());
    };
    let allowed = HostCpus::allowed().map_err(Reason::HostCpus)?;
    if let Some(cpu) = affinity.first_outside(&allowed) {
        return Err(Reason::CpuNotAllowed { cpu, allowed });
    }
    // `check` has refused what would fail.
    Ok(spec.cpus.placed().unwrap_or_default())
}

fn try_out(priority: ThreadPriority) -> Result<(), Reason> {
    let tried = priority.try_out();
    tried.map_err(|source| Reason::Priority { priority, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> MachineSpec {
        MachineSpec::new(BootSpec::Kernel(KernelSpec::new("k")))
    }

    #[test]
    fn a_kernel_is_all_that_must_be_given() {
        let spec = machine();
        let config = machine_config(&spec).unwrap();
        let defaults = MachineConfig::new(Boot::kernel("k"));
        assert_eq!((config.vcpus, &config.ram), (1, &defaults.ram));
        assert!(config.acpi);
        let kernel = config.boot.as_kernel().unwrap();
        assert_eq!(kernel.cmdline, spec.default_cmdline());
    }

    #[test]
    fn an_empty_command_line_is_kept_empty() {
        let spec = MachineSpec::new(BootSpec::Kernel(KernelSpec {
            cmdline: Some(String::new()),
            ..KernelSpec::new("k")
        }));
        let config = machine_config(&spec).unwrap();
        assert_eq!(config.boot.as_kernel().unwrap().cmdline, "");
    }

    #[test]
    fn the_cpus_of_the_host_are_those_that_this_process_may_use() {
        let mut spec = machine();
        let allowed = HostCpus::allowed().unwrap();
        spec.cpus.affinity = Some(allowed.to_string().parse().unwrap());
        assert_eq!(machine_config(&spec).unwrap().affinity.len(), 1);
        let beyond = (0..1024u32).find(|cpu| {
            let one: HostCpus = cpu.to_string().parse().unwrap();
            one.first_outside(&allowed).is_some()
        });
        let beyond = beyond.unwrap();
        spec.cpus.affinity = Some(beyond.to_string().parse().unwrap());
        let error = machine_config(&spec).unwrap_err();
        assert_eq!(error.field, Field::Affinity);
        assert!(matches!(error.reason, Reason::CpuNotAllowed { cpu, .. } if cpu == beyond));
    }

    #[test]
    fn the_timer_is_there_unless_it_is_left_out() {
        let mut platform = machine().platform;
        assert_eq!(irqchip(&platform), Irqchip::InKernel { pit: true });
        platform.legacy_timer = Some(false);
        assert_eq!(irqchip(&platform), Irqchip::InKernel { pit: false });
        platform.irqchip = IrqchipPlace::Split;
        assert_eq!(irqchip(&platform), Irqchip::Split);
    }
}
