//! Configurations that cannot become a machine, and the words they are refused with.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use std::error::Error;

use support::*;
use vmmkit_hypervisor::Capabilities;
use vmmkit_hypervisor::fake::FakeHypervisor;
use vmmkit_vmm::{KernelBoot, MachineBuilder, MachineConfig};

/// The error of building `config`, with its causes.
fn refusal(config: MachineConfig) -> String {
    refusal_on(&FakeHypervisor::new(), config)
}

fn refusal_on(hypervisor: &FakeHypervisor, config: MachineConfig) -> String {
    let error = MachineBuilder::new(config).build(hypervisor).unwrap_err();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[test]
fn each_refusal_names_the_field_and_its_value() {
    let kernel = Kernel::new();
    let junk = Kernel::of(b"this is not a kernel at all");
    let empty = Kernel::of(b"");
    let good = || kernel.config();
    let boots = || KernelBoot::new(&kernel.path);
    let booting = |boot: KernelBoot| MachineConfig {
        boot: boot.into(),
        ..good()
    };
    let missing = "/nonexistent/file";
    let rows: Vec<(MachineConfig, &[&str])> = vec![
        (MachineConfig { vcpus: 0, ..good() }, &["at least 1 vCPU"]),
        (
            MachineConfig {
                vcpus: 65,
                ..good()
            },
            &["at most 64 vCPUs", "not 65"],
        ),
        (
            MachineConfig {
                vcpus: u32::MAX,
                ..good()
            },
            &["not 4294967295"],
        ),
        (
            booting(KernelBoot::new(missing)),
            &["kernel /nonexistent/file", "No such file"],
        ),
        (
            booting(KernelBoot {
                initrd: Some(missing.into()),
                ..boots()
            }),
            &["initrd /nonexistent/file", "No such file"],
        ),
        (booting(KernelBoot::new("/")), &["kernel /"]),
        (
            booting(KernelBoot::new(&junk.path)),
            &["kernel", "vmmkit-vmm-"],
        ),
        (
            booting(KernelBoot::new(&empty.path)),
            &["kernel", "vmmkit-vmm-"],
        ),
        (
            booting(KernelBoot {
                cmdline: "x".repeat(1 << 20),
                ..boots()
            }),
            &["command line"],
        ),
    ];
    for (config, parts) in rows {
        let text = refusal(config);
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
        assert!(!text.contains("xxxxxxxx"), "{text:?} repeats its input");
    }
}

#[test]
fn the_hypervisor_s_own_limits_are_named() {
    let one = Capabilities::complete(1);
    let mut none = Capabilities::complete(8);
    none.irqchip = false;
    let kernel = Kernel::new();
    let config = MachineConfig {
        vcpus: 2,
        ..kernel.config()
    };
    let hypervisor = FakeHypervisor::new().with_capabilities(one);
    assert!(refusal_on(&hypervisor, config.clone()).contains("at most 1"));
    let hypervisor = FakeHypervisor::new().with_capabilities(none);
    let text = refusal_on(&hypervisor, config);
    assert!(text.contains("interrupt controllers"), "{text}");
}
