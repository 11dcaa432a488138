//! A configuration is made, and each of its fields named, with nothing but the facade.
#![cfg(feature = "machine")]

use std::collections::BTreeMap;

use vmmkit::config::*;

#[test]
fn the_facade_has_the_type_of_every_field() {
    let config = MachineConfig {
        name: "web".to_owned(),
        vcpus: 2,
        ..MachineConfig::new(KernelBoot::new("vmlinux"))
    };
    let boot: &Boot = &config.boot;
    assert!(matches!(
        boot,
        Boot::Kernel(KernelBoot {
            entry: EntryChoice::Auto,
            ..
        })
    ));
    let RamConfig {
        size, backing, thp, ..
    } = &config.ram;
    let (size, backing, thp): (&RamSize, &Backing, &ThpAdvice) = (size, backing, thp);
    assert_eq!(
        (size.bytes(), backing, thp),
        (256 << 20, &Backing::Anonymous, &ThpAdvice::default())
    );
    let topology: Option<Topology> = config.topology;
    let priority: Option<ThreadPriority> = config.vcpu_priority;
    assert_eq!((topology, priority), (None, None));
    let affinity: &BTreeMap<u32, HostCpus> = &config.affinity;
    assert!(affinity.is_empty());
    let (_, _, _): (&ThreadPolicy, &CpuModel, &Oem) = (&config.threads, &config.cpu, &config.oem);
    let (table, irqchip, virtio): (MpTable, Irqchip, VirtioTransport) =
        (config.mp_table, config.irqchip, config.virtio);
    assert_eq!(
        (table, irqchip, virtio),
        (
            MpTable::Auto,
            Irqchip::InKernel { pit: true },
            VirtioTransport::Mmio
        )
    );
    let (reboot, crash, clock): (OnReboot, OnCrash, ClockPolicy) =
        (config.on_reboot, config.on_crash, config.clock_after_pause);
    assert_eq!(
        (reboot, crash, clock),
        (
            OnReboot::default(),
            OnCrash::default(),
            ClockPolicy::default()
        )
    );
}
