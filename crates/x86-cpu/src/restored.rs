//! Whether a vCPU that was saved elsewhere can run on this host.

use vmmkit_hypervisor::x86::CpuidEntry;

use crate::leaves::Leaves;
use crate::{CpuidError, Feature};

/// Features that the hypervisor shows only while the guest has them switched on (Intel SDM vol. 2A, table 3-10:
/// CR4.OSXSAVE; table 3-8, leaf 7: CR4.PKE).
const SWITCHED_BY_GUEST: [&str; 2] = ["osxsave", "ospke"];

/// Checks that a vCPU which was saved with the table `saved` finds what it knows on a host where it would be made
/// with the table `here`.
///
/// # Errors
/// [`CpuidError::Vendor`], or [`CpuidError::Lacking`] with the first feature that it has and would lose.
pub fn check_restored(saved: &[CpuidEntry], here: &[CpuidEntry]) -> Result<(), CpuidError> {
    let (saved, here) = (Leaves::from_host(saved), Leaves::from_host(here));
    let (wanted, host) = (vendor(&saved), vendor(&here));
    if wanted != host {
        return Err(CpuidError::Vendor { wanted, host });
    }
    let has = |leaves: &Leaves, feature: &Feature| {
        let leaf = leaves.get(feature.function, feature.index);
        leaf.is_some_and(|leaf| feature.register.of(leaf) & 1 << feature.bit != 0)
    };
    let lost = Feature::all()
        .filter(|feature| !SWITCHED_BY_GUEST.contains(&feature.name))
        .find(|feature| has(&saved, feature) && !has(&here, feature));
    lost.map_or(Ok(()), |feature| Err(CpuidError::Lacking(feature)))
}

/// The vendor in characters that can be shown: a saved table may hold any bytes.
fn vendor(leaves: &Leaves) -> String {
    let vendor = leaves.vendor();
    vendor.chars().filter(char::is_ascii_graphic).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(function: u32, ebx: u32, ecx: u32) -> CpuidEntry {
        CpuidEntry {
            function,
            ebx,
            ecx,
            ..CpuidEntry::default()
        }
    }

    #[test]
    fn a_feature_that_the_host_lacks_is_named() {
        let avx2 = [leaf(0, 7, 0), leaf(7, 1 << 5, 0)];
        assert_eq!(check_restored(&avx2, &avx2), Ok(()));
        assert_eq!(check_restored(&[leaf(0, 7, 0)], &avx2), Ok(()));
        let error = check_restored(&avx2, &[leaf(0, 7, 0)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the host has no avx2 (CPUID leaf 0x7.0, EBX bit 5)"
        );
    }

    #[test]
    fn another_vendor_is_refused_and_what_the_guest_switches_is_not_looked_at() {
        let intel = u32::from_le_bytes(*b"Genu");
        let amd = u32::from_le_bytes(*b"Auth");
        let answer = check_restored(&[leaf(0, intel, 0)], &[leaf(0, amd, 0)]);
        assert!(matches!(answer, Err(CpuidError::Vendor { .. })));
        let osxsave = [leaf(0, amd, 0), leaf(1, 0, 1 << 27)];
        assert_eq!(check_restored(&osxsave, &[leaf(0, amd, 0)]), Ok(()));
    }
}
