//! What a guest is told, so that it does without what a software KVM lacks or does slowly.

use thiserror::Error;
use vmmkit_hypervisor::x86::CpuidEntry;

use crate::ProbeReport;

/// A bit of CPUID.
struct Bit {
    /// The finding that makes it unwelcome.
    finding: &'static str,
    leaf: u32,
    subleaf: u32,
    register: fn(&mut CpuidEntry) -> &mut u32,
    bit: u32,
}

/// Masked where the finding is missing. The others the host forces on, or are completed.
const MASKED: [Bit; 2] = [
    // CX16: without it Linux's allocator takes a path that is cheaper than an exit.
    Bit {
        finding: "CMPXCHG16B",
        leaf: 1,
        subleaf: 0,
        register: |leaf| &mut leaf.ecx,
        bit: 13,
    },
    // LA57: a level more of emulated page walks, for nothing.
    Bit {
        finding: "SYSCALL",
        leaf: 7,
        subleaf: 0,
        register: |leaf| &mut leaf.ecx,
        bit: 16,
    },
];

/// Clears the bits that `report` makes unwelcome.
pub(super) fn mask(report: &ProbeReport, leaves: &mut [CpuidEntry]) {
    for bit in MASKED.iter().filter(|bit| report.lacks(bit.finding)) {
        for leaf in leaves.iter_mut() {
            if leaf.function == bit.leaf && leaf.index == bit.subleaf {
                *(bit.register)(leaf) &= !(1 << bit.bit);
            }
        }
    }
}

/// A parameter that Linux should be given on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CmdlineAddition {
    /// The parameter, to be put before the user's own.
    pub parameter: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// A parameter that cannot work on this host.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{parameter}: {reason}")]
pub struct CmdlineConflict {
    /// The parameter as the user wrote it.
    pub parameter: String,
    /// Why it cannot work.
    pub reason: &'static str,
}

/// Parameters to add, each with those by which a user overrides it: the same name before the `=`.
const ADDED: [(CmdlineAddition, &[&str]); 1] = [(
    CmdlineAddition {
        parameter: "nopti",
        reason: "page-table isolation would hide the SYSCALL bridge from programs",
    },
    &["nopti", "pti", "mitigations"],
)];

/// What to add to `cmdline` where `report` says that SYSCALL needs the bridge.
pub(crate) fn cmdline(
    report: &ProbeReport,
    cmdline: &str,
) -> Result<Vec<CmdlineAddition>, CmdlineConflict> {
    if !report.lacks("SYSCALL") {
        return Ok(Vec::new());
    }
    let words = || cmdline.split_ascii_whitespace();
    if let Some(word) = words().find(|word| ["pti=on", "pti"].contains(word)) {
        return Err(CmdlineConflict {
            parameter: word.to_owned(),
            reason: "on this host's software KVM programs reach Linux by a bridge that page-table \
                     isolation hides",
        });
    }
    let name = |word: &str| word.split('=').next().unwrap_or_default().to_owned();
    let given: Vec<String> = words().map(name).collect();
    let wanted = ADDED
        .iter()
        .filter(|(_, by)| !by.iter().any(|name| given.iter().any(|word| word == name)));
    Ok(wanted.map(|&(addition, _)| addition).collect())
}
