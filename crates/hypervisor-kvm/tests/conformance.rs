//! The conformance suite on this host's /dev/kvm. The binary stands alone: it runs on any machine.

use vmmkit_hypervisor::conformance::{self, Need};
use vmmkit_hypervisor_kvm::Kvm;

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
    let report = conformance::run_telling(&kvm, &[Need::Execution], |name, verdict| {
        eprintln!("{name}: {verdict:?}");
    });
    eprintln!("{report}");
    assert_eq!(report.failures().count(), 0, "{report}");
}
