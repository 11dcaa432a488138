//! The processor's name, which KVM leaves out of what it supports.

use std::arch::x86_64::__cpuid;

use vmmkit_hypervisor::x86::CpuidEntry;

/// The leaves of the brand string, 16 characters each (AMD APM vol. 3, appendix E.4.2).
const BRAND: std::ops::RangeInclusive<u32> = 0x8000_0002..=0x8000_0004;

/// Gives the brand string's leaves the host's own words where KVM has left them empty, so that a
/// guest can tell what it runs on.
pub(crate) fn fill(leaves: &mut [CpuidEntry]) {
    let empty = |leaf: &CpuidEntry| [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx] == [0; 4];
    let brand = leaves
        .iter_mut()
        .filter(|leaf| BRAND.contains(&leaf.function) && empty(leaf));
    for leaf in brand {
        let host = __cpuid(leaf.function);
        (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) = (host.eax, host.ebx, host.ecx, host.edx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_brand_leaves_get_the_hosts_words_and_others_stay() {
        let leaf = |function, eax| CpuidEntry {
            function,
            eax,
            ..CpuidEntry::default()
        };
        let mut leaves = [
            leaf(0x8000_0001, 0),
            leaf(0x8000_0002, 0),
            leaf(0x8000_0003, 7),
        ];
        fill(&mut leaves);
        assert_eq!(leaves[0], leaf(0x8000_0001, 0));
        assert_eq!(leaves[1].eax, __cpuid(0x8000_0002).eax);
        assert_eq!(leaves[2], leaf(0x8000_0003, 7));
    }
}
