//! The conformance suite on this host's /dev/kvm. The binary stands alone: it runs on any machine.
//! `VMMKIT_CASES=NAME,...` runs these cases alone, and a name with `-` before it all but that one.

use vmmkit_hypervisor::conformance::{self, Need};
use vmmkit_hypervisor_kvm::{Kvm, kvm_ioctls};

#[test]
fn kvm_keeps_what_the_traits_promise() {
    let kvm = match Kvm::open() {
        Ok(kvm) => kvm,
        Err(reason) => {
            let cases = conformance::cases::<Kvm>().len();
            eprintln!("SKIPPED: {cases} conformance cases: {reason}");
            return;
        }
    };
    let wanted = std::env::var("VMMKIT_CASES").unwrap_or_default();
    let (left_out, named): (Vec<&str>, Vec<&str>) = wanted
        .split(',')
        .filter(|name| !name.is_empty())
        .partition(|name| name.starts_with('-'));
    let is_wanted = |name: &str| {
        let out = left_out
            .iter()
            .any(|out| out.strip_prefix('-') == Some(name));
        !out && (named.is_empty() || named.contains(&name))
    };
    let report = conformance::run_chosen(&kvm, &[Need::Execution], is_wanted, |name, verdict| {
        eprintln!("{name}: {verdict:?}");
    });
    eprintln!("{report}");
    assert_eq!(report.failures().count(), 0, "{report}");
}

#[test]
fn the_descriptors_below_the_traits_can_be_had() {
    use vmmkit_hypervisor::x86::VcpuState;
    use vmmkit_hypervisor::{Hypervisor, VcpuId, Vm, VmSettings};
    let kvm = match Kvm::open() {
        Ok(kvm) => kvm,
        Err(reason) => {
            eprintln!("SKIPPED: the descriptors of KVM: {reason}");
            return;
        }
    };
    let vm = kvm.create_vm(&VmSettings::default()).unwrap();
    assert!(vm.with_fd(|vm| vm.check_extension(kvm_ioctls::Cap::UserMemory)));
    let mut vcpu = vm.create_vcpu(VcpuId(0)).unwrap();
    let mut registers = vcpu.registers().unwrap();
    registers.rbx = 0x1234;
    vcpu.set_registers(&registers).unwrap();
    let found = vcpu.with_fd(|vcpu| vcpu.get_regs()).unwrap();
    assert_eq!(found.rbx, 0x1234);
}
