//! Advice for a guest that ended before it said anything.

use std::fs::File;

use vmmkit_boot_loader::has_unused_pvh_entry;
use vmmkit_vmm::MachineConfig;

/// How to see more of a guest that ended in a triple fault.
pub(crate) fn after_triple_fault(machine: &MachineConfig) -> &'static str {
    let Some(kernel) = machine.boot.as_kernel() else {
        return "boot with --debug-port stderr";
    };
    let image = kernel.image.path().and_then(|path| File::open(path).ok());
    if image.is_some_and(|file| has_unused_pvh_entry(&file, kernel.entry)) {
        return "boot with --entry pvh, or with earlyprintk=ttyS0 on the kernel's command line";
    }
    "boot with earlyprintk=ttyS0 on the kernel's command line"
}
