//! Whether a debugger can stop guests here: tried, since a software KVM may take the request and do
//! nothing about it.

use vmmkit_hypervisor::x86::{DebugExit, GuestDebug, HardwareBreakpoint, VcpuState, WatchedAccess};
use vmmkit_hypervisor::{Hypervisor, Result, Vcpu, VcpuExit};

use super::Finding;
use super::micro_guest::{self, ENTRY, Ring, SCRATCH};
use crate::Kvm;

/// A trial: the request to a guest of this code, and the exit that must come.
struct Trial {
    name: &'static str,
    meaning: &'static str,
    code: &'static [u8],
    debug: GuestDebug,
    answers: fn(&DebugExit) -> bool,
}

const OFF: GuestDebug = GuestDebug {
    step: false,
    software_breakpoints: false,
    hardware: [None; 4],
    inject_breakpoint: false,
};

const fn watch(address: u64, access: WatchedAccess, length: u8) -> GuestDebug {
    GuestDebug {
        hardware: [
            Some(HardwareBreakpoint {
                address,
                access,
                length,
            }),
            None,
            None,
            None,
        ],
        ..OFF
    }
}

const TRIALS: [Trial; 4] = [
    Trial {
        name: "debug step",
        meaning: "a debugger executes one instruction by it",
        code: &[0x90, 0x90],
        debug: GuestDebug { step: true, ..OFF },
        answers: |exit| exit.is_step() && exit.address == ENTRY + 1,
    },
    Trial {
        name: "debug INT3",
        meaning: "a debugger's breakpoints in memory",
        code: &[0x90, 0xcc],
        debug: GuestDebug {
            software_breakpoints: true,
            ..OFF
        },
        answers: |exit| exit.is_breakpoint() && exit.address == ENTRY + 1,
    },
    Trial {
        name: "debug break",
        meaning: "a debugger's breakpoints in debug registers",
        code: &[0x90, 0x90],
        debug: watch(ENTRY + 1, WatchedAccess::Execute, 1),
        answers: |exit| exit.place() == Some(0) && exit.address == ENTRY + 1,
    },
    Trial {
        name: "debug watch",
        meaning: "a debugger stops by it where data are written",
        code: &[0x48, 0x89, 0x07, 0x90], // mov [rdi], rax
        debug: watch(SCRATCH, WatchedAccess::Write, 8),
        answers: |exit| exit.place() == Some(0) && exit.address == ENTRY + 3,
    },
];

/// Runs a guest of its own for each thing that a debugger needs.
///
/// # Errors
/// The first call the host refuses; that guests cannot be debugged is a finding and no error.
pub fn probe_debug(kvm: &Kvm) -> Result<Vec<Finding>> {
    TRIALS.iter().map(|trial| trial.run(kvm)).collect()
}

impl Trial {
    fn run(&self, kvm: &Kvm) -> Result<Finding> {
        let ok = kvm.capabilities().guest_debug && {
            let mut vcpu = micro_guest::prepare(kvm, Ring::Kernel, self.code)?;
            // Refused is as good as not done.
            let is_taken = vcpu.set_guest_debug(&self.debug).is_ok();
            let _leash = micro_guest::watch(vcpu.kicker())?;
            is_taken && matches!(vcpu.run()?, VcpuExit::Debug(exit) if (self.answers)(&exit))
        };
        Ok(Finding {
            name: self.name,
            ok,
            meaning: self.meaning,
            remedy: None,
            fix: "debug on a host with VT-x or AMD-V",
            essential: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KvmKind, kvm_kind};

    #[test]
    fn hardware_does_all_that_a_debugger_needs() {
        let kvm = match Kvm::open() {
            Ok(kvm) => kvm,
            Err(reason) => return eprintln!("SKIPPED: the probe of guest debugging: {reason}"),
        };
        let is_software = kvm_kind() == KvmKind::Software;
        // QEMU's emulation of AMD-V stops for single steps only.
        let is_emulated = std::env::var_os("VMMKIT_LAB").is_some();
        for (index, finding) in probe_debug(&kvm).unwrap().iter().enumerate() {
            eprintln!("{}: {}", finding.name, finding.ok);
            if !finding.ok && is_emulated && index > 0 {
                eprintln!("SKIPPED: {}: emulated AMD-V", finding.name);
                continue;
            }
            assert!(finding.ok || is_software, "{finding:?}");
        }
    }
}
