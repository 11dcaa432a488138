//! Help given to a software KVM, as metrics.

use vmmkit_hypervisor_kvm::Kvm;
use vmmkit_telemetry::Metrics;

use super::MoreMetrics;

/// The numbers of `kvm`; none on VT-x and AMD-V.
pub(crate) fn of(kvm: &Kvm) -> MoreMetrics {
    let is_software = kvm.shortcomings().is_some();
    let counters = kvm.software_counter();
    Box::new(move |metrics| {
        if is_software {
            add(&counters(), metrics);
        }
    })
}

fn add(counters: &vmmkit_hypervisor_kvm::SoftwareCounters, metrics: &mut Metrics) {
    for (instruction, count) in &counters.completed {
        let name = "software_completed_total";
        let help = "Instructions that a software KVM handed back, and that were completed";
        metrics.counter(name, help, &[("instruction", instruction)], *count);
    }
    let others = [
        (
            "faults",
            "Exceptions that completed instructions raised",
            counters.faults,
        ),
        (
            "bridged",
            "System calls that went over the bridge",
            counters.bridged,
        ),
        (
            "refused",
            "Accesses to the bridge that were no system call",
            counters.refused,
        ),
    ];
    for (name, help, count) in others {
        metrics.counter(&format!("software_{name}_total"), help, &[], count);
    }
}
