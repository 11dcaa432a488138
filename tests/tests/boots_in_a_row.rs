//! Boots of Linux in a row in one process, by the library: none fails, and no descriptor and no
//! thread is left. A test program of its own, since it counts what its process has.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs;
use std::io::Read;
use std::sync::Arc;

use vmmkit_host_io::OutputBuffer;
use vmmkit_hypervisor_kvm::{Kvm, SoftwareCounters};
use vmmkit_tests::guest::Guests;
use vmmkit_vmm::{Console, KernelBoot, MachineBuilder, MachineConfig, Outcome};

#[test]
fn boots_in_a_row_succeed_and_leave_nothing() {
    let Some(guests) = Guests::find("boots in a row") else {
        return;
    };
    let kvm = Kvm::open().unwrap();
    boot(&guests, &kvm);
    let before = (entries("/proc/self/fd"), entries("/proc/self/task"));
    // `VMMKIT_BOOTS=50` is the long form.
    let boots = std::env::var("VMMKIT_BOOTS").map_or(5, |text| text.parse().unwrap());
    for _ in 0..boots {
        boot(&guests, &kvm);
        let after = (entries("/proc/self/fd"), entries("/proc/self/task"));
        assert_eq!(after, before, "descriptors, threads");
    }
    // On VT-x and AMD-V nothing of what a software KVM needs was ever engaged.
    assert_eq!(kvm.shortcomings(), None);
    assert_eq!(kvm.software_counters(), SoftwareCounters::default());
}

/// Boots the lean kernel to user space and on to power-off.
fn boot(guests: &Guests, kvm: &Kvm) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let config = MachineConfig::new(KernelBoot {
        initrd: Some(guests.initramfs().into()),
        cmdline: "console=ttyS0 reboot=k panic=-1 quiet vmmkit.batch".to_owned(),
        ..KernelBoot::new(guests.lean_elf())
    });
    let console = Console {
        output: Some(Arc::new(OutputBuffer::new(writer.into()).unwrap())),
        ..Console::default()
    };
    let machine = MachineBuilder::new(config).console(console).build(kvm);
    let outcome = machine.unwrap().start().unwrap().wait().unwrap();
    // The machine is gone, and with it the pipe's other end.
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(outcome, Outcome::PowerOff, "{text}");
    assert!(text.contains("model name"), "{text}");
}

fn entries(folder: &str) -> usize {
    fs::read_dir(folder).unwrap().count()
}
