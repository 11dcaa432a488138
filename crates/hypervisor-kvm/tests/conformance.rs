//! The conformance suite on this host's /dev/kvm. The binary stands alone: it runs on any machine.
//! `VMMKIT_CASES=NAME,...` runs these cases alone, and a name with `-` before it all but that one.

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
