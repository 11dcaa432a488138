//! Parameters for a guest, so that it does without what a software KVM lacks or does slowly.

use vmmkit_hypervisor::x86::CpuidEntry;
use vmmkit_hypervisor::{CmdlineAddition, CmdlineConflict};

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

/// The sign of a software KVM without SYSCALL: it emulates ring 0 instruction by instruction.
const EMULATED_RING_0: &str = "SYSCALL";

/// Masked where the finding is missing. The others the host forces on, or are completed.
const MASKED: [Bit; 5] = [
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
        finding: EMULATED_RING_0,
        leaf: 7,
        subleaf: 0,
        register: |leaf| &mut leaf.ecx,
        bit: 16,
    },
    // What Linux would do by a hypercall, an invalid opcode here (`leave_hypercalls_alone`): wake a vCPU that
    // waits for a spin lock (KVM_FEATURE_PV_UNHALT), send IPIs, yield to another vCPU.
    hypercall(7),
    hypercall(11),
    hypercall(13),
];

/// A feature of KVM itself (KVM's cpuid.rst).
const fn hypercall(bit: u32) -> Bit {
    Bit {
        finding: EMULATED_RING_0,
        leaf: 0x4000_0001,
        subleaf: 0,
        register: |leaf| &mut leaf.eax,
        bit,
    }
}

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

/// Parameters to add, each with those by which a user overrides it: the same name before the `=`.
const ADDED: [(CmdlineAddition, &[&str]); 2] = [
    (
        CmdlineAddition {
            parameter: "nopti",
            reason: "page-table isolation would hide the SYSCALL bridge from programs",
        },
        &["nopti", "pti", "mitigations"],
    ),
    // The host announces all three whatever CPUID it is given. Linux clears a page by 4096 steps of
    // REP STOSB then, and by 512 of REP STOSQ otherwise; and its random numbers are hashed by vector
    // code, AVX-512 where there is that too. Programs ask the CPU, and are told of all three.
    (
        CmdlineAddition {
            parameter: "clearcpuid=erms,fsrm,ssse3",
            reason: "Linux itself is slow here by REP STOSB and by vector code",
        },
        &["clearcpuid"],
    ),
];

/// The additions to `parameters` where `report` says that SYSCALL needs the bridge.
pub(crate) fn cmdline<S: AsRef<str>>(
    report: &ProbeReport,
    parameters: impl IntoIterator<Item = S>,
) -> Result<Vec<CmdlineAddition>, CmdlineConflict> {
    if !report.lacks(EMULATED_RING_0) {
        return Ok(Vec::new());
    }
    let words: Vec<S> = parameters.into_iter().collect();
    let mut words_as_text = words.iter().map(AsRef::as_ref);
    if let Some(word) = words_as_text.find(|word| ["pti=on", "pti"].contains(word)) {
        return Err(CmdlineConflict {
            parameter: word.to_owned(),
            reason: "on this host's software KVM programs reach Linux by a bridge that page-table \
                     isolation hides",
        });
    }
    let name = |word: &str| word.split('=').next().unwrap_or_default().to_owned();
    let given: Vec<String> = words.iter().map(|word| name(word.as_ref())).collect();
    let wanted = ADDED
        .iter()
        .filter(|(_, by)| !by.iter().any(|name| given.iter().any(|word| word == name)));
    Ok(wanted.map(|&(addition, _)| addition).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Finding, KvmKind, Remedy};

    fn report(missing: &'static str) -> ProbeReport {
        let finding = Finding {
            name: missing,
            ok: false,
            meaning: "",
            remedy: Some(Remedy::Bridged),
            fix: "",
            essential: true,
        };
        ProbeReport {
            kind: KvmKind::Software,
            findings: vec![finding],
        }
    }

    fn leaf(function: u32) -> CpuidEntry {
        CpuidEntry {
            function,
            eax: u32::MAX,
            ebx: u32::MAX,
            ecx: u32::MAX,
            edx: u32::MAX,
            ..CpuidEntry::default()
        }
    }

    #[test]
    fn only_what_is_missing_is_masked() {
        let mut leaves = [leaf(1), leaf(7)];
        mask(&report("CMPXCHG16B"), &mut leaves);
        assert_eq!((leaves[0].ecx, leaves[1]), (!(1 << 13), leaf(7)));
        mask(&report("SYSCALL"), &mut leaves);
        assert_eq!((leaves[1].ebx, leaves[1].ecx), (u32::MAX, !(1 << 16)));
    }

    #[test]
    fn what_needs_a_hypercall_is_not_offered() {
        let mut leaves = [leaf(0x4000_0001)];
        mask(&report("SYSCALL"), &mut leaves);
        assert_eq!(leaves[0].eax, !(1 << 7 | 1 << 11 | 1 << 13));
    }

    #[test]
    fn other_leaves_and_subleaves_are_left_alone() {
        let other = CpuidEntry {
            index: 1,
            ..leaf(7)
        };
        let mut leaves = [other, leaf(0x8000_0001)];
        mask(&report("SYSCALL"), &mut leaves);
        assert_eq!(leaves, [other, leaf(0x8000_0001)]);
    }

    #[test]
    fn parameters_are_added_unless_the_user_gives_his_own() {
        let added = |text: &str| {
            let added = cmdline(&report("SYSCALL"), text.split(' ')).unwrap();
            added.iter().map(|a| a.parameter).collect::<Vec<_>>()
        };
        assert_eq!(
            added("console=ttyS0"),
            ["nopti", "clearcpuid=erms,fsrm,ssse3"]
        );
        for own in ["nopti", "quiet pti=off", "mitigations=off"] {
            assert_eq!(added(own), ["clearcpuid=erms,fsrm,ssse3"], "{own}");
        }
        assert_eq!(added("nopti clearcpuid=smap"), [""; 0]);
        assert!(cmdline(&report("POPCNT"), ["quiet"]).unwrap().is_empty());
    }

    #[test]
    fn page_table_isolation_that_is_asked_for_is_refused() {
        let conflict = cmdline(&report("SYSCALL"), ["quiet", "pti=on"]).unwrap_err();
        assert_eq!(conflict.parameter, "pti=on");
        assert!(cmdline(&report("POPCNT"), ["quiet", "pti=on"]).is_ok());
    }
}
