//! CPUs, memory and interrupt controllers.

use vmmkit_machine_spec::{
    Affinity, CpuModelSpec, IrqchipPlace, MemorySpec, PrioritySpec, VcpusSpec, switch_value,
};

use super::{CPUS, RunOption, TEXT, Takes, changed, one};

pub(super) const OPTIONS: &[RunOption] = &[
    RunOption {
        name: "cpus",
        value: "N[,LEVEL=M...]",
        takes: Takes::Words,
        heading: CPUS,
        help: "Number of vCPUs, and their topology [default: 1]",
        more: "For example 8,sockets=2,dies=1,cores=2,threads=2; by default they are cores of one socket.",
        advice: "give a whole number from 1, such as --cpus 2, or an arrangement such as --cpus \
                 8,sockets=2,cores=2,threads=2",
        read: |options, given| {
            options.cpus.vcpus = VcpusSpec::parse(given)?;
            Ok(())
        },
        write: |settings| vec![settings.spec.cpus.vcpus.to_string()],
        ..TEXT
    },
    RunOption {
        name: "cpu",
        value: "MODEL[,-FEATURE...]",
        takes: Takes::Parts,
        heading: CPUS,
        help: "CPU model of the guest [default: host]",
        more: "host, baseline, x86-64-v2, x86-64-v3 or a profile file, plus or minus features: host,-avx512f or \
               my.toml,+aes.",
        words: &["host", "baseline", "x86-64-v2", "x86-64-v3"],
        advice: crate::cpu::NEXT,
        read: |options, given| {
            options.cpus.model = CpuModelSpec::parse(given)?;
            Ok(())
        },
        write: |settings| changed(&settings.machine.cpu),
        ..TEXT
    },
    RunOption {
        name: "affinity",
        value: "[VCPUS:]CPUS[,...]",
        takes: Takes::Parts,
        heading: CPUS,
        help: "Host CPUs that vCPUs may run on",
        more: "For all vCPUs (0-3) or for some: 0:2,1-3:0+1 pins vCPU 0 to CPU 2, and vCPUs 1 to 3 to CPUs 0 and 1.",
        advice: "name CPUs that this process may use, for all vCPUs as in --affinity 0-1 or each as in \
                 --affinity 0:0,1-2:1",
        read: |options, given| {
            options.cpus.affinity = Some(Affinity::parse(given)?);
            Ok(())
        },
        write: |settings| one(settings.spec.cpus.affinity.as_ref()),
        ..TEXT
    },
    RunOption {
        name: "priority",
        value: "vcpu=HOW[,io=HOW]",
        takes: Takes::Words,
        heading: CPUS,
        help: "Scheduling of vCPU and device threads",
        more: "fifo:1 to fifo:99, rr:1 to rr:99 or nice:-20 to nice:19 [default: that of this process].",
        advice: "give vcpu= or io= and fifo:1 to fifo:99, rr:1 to rr:99 or nice:-20 to nice:19",
        read: |options, given| {
            options.cpus.priority = PrioritySpec::parse(given)?;
            Ok(())
        },
        write: |settings| changed(&settings.spec.cpus.priority),
        ..TEXT
    },
    RunOption {
        name: "memory",
        value: "SIZE[,max=SIZE][,KEY...]",
        takes: Takes::Words,
        heading: CPUS,
        help: "Guest RAM, with a unit K, M, G or T [default: 256M]",
        more: "max=SIZE is the limit for `vmmkit memory`. Backing: backend=anon|memfd|hugetlb[=2M|1G]|file=PATH, \
               prefault, thp=on|off, merge, dump=on.",
        advice: "there are SIZE, max=SIZE, backend=anon|memfd|hugetlb[=2M|1G]|file=PATH, prefault, thp=on|off, \
                 merge and dump=on",
        read: |options, given| {
            options.memory = MemorySpec::parse(given)?;
            Ok(())
        },
        write: |settings| vec![settings.spec.memory_as_built().to_string()],
        ..TEXT
    },
    RunOption {
        name: "irqchip",
        value: "kernel|split",
        heading: CPUS,
        help: "Interrupt controllers: kernel or split [default: kernel]",
        more: "kernel: all in the host's kernel; split: local APICs in the kernel, the I/O APIC in the VMM.",
        words: IrqchipPlace::WORDS,
        advice: "give kernel or split",
        read: |options, given| {
            options.platform.irqchip = IrqchipPlace::parse(given)?;
            Ok(())
        },
        write: |settings| changed(&settings.spec.platform.irqchip),
        ..TEXT
    },
    RunOption {
        name: "legacy-timer",
        value: "on|off",
        takes: Takes::Switch,
        heading: CPUS,
        help: "The 8254 timer (PIT): on or off [default: on]",
        more: "--irqchip split has neither this timer nor the 8259.",
        words: &["on", "off"],
        advice: "give on or off",
        read: |options, given| {
            options.platform.legacy_timer = Some(switch_value(given)?);
            Ok(())
        },
        write: |settings| one((settings.spec.platform.legacy_timer == Some(false)).then_some("off")),
        ..TEXT
    },
];
