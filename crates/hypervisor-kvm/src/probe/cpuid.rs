//! Bits of CPUID that a guest sees whatever table it was given: a KVM that cannot intercept the
//! instruction everywhere lets the host's answer through.

use vmmkit_hypervisor::x86::CpuidEntry;
use vmmkit_hypervisor::{Hypervisor, Result};

use super::micro_guest;
use crate::Kvm;

/// The bits of one sub-leaf that a guest's table does not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForcedBits {
    /// Set for a guest whose table has them clear.
    pub on: CpuidEntry,
    /// Clear for a guest whose table has them set.
    pub off: CpuidEntry,
}

/// Leaves whose bits are features, with what of them no table decides anywhere: OSXSAVE and OSPKE are
/// copies of CR4, APIC is one of IA32_APIC_BASE, and leaf 1's EBX has the APIC ID.
const FEATURES: [(u32, u32, bool); 6] = [
    (1, 0, false),
    (7, 0, true),
    (7, 1, true),
    (0xd, 1, true),
    (0x8000_0001, 0, false),
    (0x8000_0008, 0, false),
];

/// The feature leaves as a guest of `kvm` sees them, though its table says otherwise. It
/// takes two guests of some instructions.
///
/// # Errors
/// The first call the host refuses, or a guest that does not come to its end.
pub fn forced_cpuid(kvm: &Kvm) -> Result<Vec<ForcedBits>> {
    let places = FEATURES.map(|(function, index, significant_index)| CpuidEntry {
        function,
        index,
        significant_index,
        ..CpuidEntry::default()
    });
    let supported = kvm.supported_cpuid()?;
    let full: Vec<CpuidEntry> = places
        .iter()
        .filter_map(|place| {
            let is =
                |leaf: &&CpuidEntry| (leaf.function, leaf.index) == (place.function, place.index);
            supported.iter().find(is).copied()
        })
        .collect();
    let others = |leaf: &&CpuidEntry| !places.iter().any(|place| place.function == leaf.function);
    let base: Vec<CpuidEntry> = supported.iter().filter(others).copied().collect();
    // A CPU in 64-bit mode has these, whatever else.
    let empty = full.iter().map(|leaf| match leaf.function {
        0x8000_0001 => CpuidEntry {
            edx: LONG_MODE,
            ..bare(leaf)
        },
        0x8000_0008 => CpuidEntry {
            eax: leaf.eax,
            ..bare(leaf)
        },
        _ => bare(leaf),
    });
    let empty: Vec<CpuidEntry> = empty.collect();
    let table = |leaves: &[CpuidEntry]| [&base, leaves].concat();
    let with_none = micro_guest::cpuid(kvm, &table(&empty), &empty)?;
    let with_all = micro_guest::cpuid(kvm, &table(&full), &full)?;
    let mut forced = Vec::new();
    for (((none, all), none_seen), all_seen) in
        empty.iter().zip(&full).zip(&with_none).zip(&with_all)
    {
        let bits = ForcedBits {
            on: excess(none_seen, none),
            off: excess(all, all_seen),
        };
        if !is_empty(&bits.on) || !is_empty(&bits.off) {
            forced.push(bits);
        }
    }
    Ok(forced)
}

/// LM, 80000001H EDX (AMD APM vol. 3, E.4.2).
const LONG_MODE: u32 = 1 << 29;

fn bare(leaf: &CpuidEntry) -> CpuidEntry {
    CpuidEntry {
        function: leaf.function,
        index: leaf.index,
        significant_index: leaf.significant_index,
        ..CpuidEntry::default()
    }
}

/// The bits of `one` that `other` has not, without those that no table decides.
fn excess(one: &CpuidEntry, other: &CpuidEntry) -> CpuidEntry {
    let mut entry = CpuidEntry {
        eax: one.eax & !other.eax,
        ebx: one.ebx & !other.ebx,
        ecx: one.ecx & !other.ecx,
        edx: one.edx & !other.edx,
        ..*one
    };
    match (entry.function, entry.index) {
        (1, _) => {
            (entry.ebx, entry.ecx, entry.edx) = (0, entry.ecx & !(1 << 27), entry.edx & !(1 << 9));
        }
        (7, 0) => entry.ecx &= !(1 << 4),
        // The size of XSAVE's area as it is set up now.
        (0xd, 1) => entry.ebx = 0,
        _ => {}
    }
    entry
}

fn is_empty(leaf: &CpuidEntry) -> bool {
    [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx] == [0; 4]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{KvmKind, kvm_kind};

    #[test]
    fn genuine_kvm_forces_nothing() {
        let kvm = match Kvm::open_path(Path::new("/dev/kvm")) {
            Ok(kvm) => kvm,
            Err(reason) => return eprintln!("SKIPPED: forced bits of CPUID: {reason}"),
        };
        let forced = forced_cpuid(&kvm).unwrap();
        eprintln!("{forced:x?}");
        if kvm_kind() != KvmKind::Software {
            assert_eq!(forced, []);
        }
    }
}
