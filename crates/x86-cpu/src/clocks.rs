//! The frequencies a guest need not measure.

use vmmkit_hypervisor::x86::CpuidEntry;

use crate::leaves::{HYPERVISOR, Leaves};

/// Frequencies of one vCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// The TSC in kHz, where it is known.
    pub tsc_khz: Option<u32>,
    /// The local APIC's timer before its divider, in kHz; without one KVM's, 1 GHz.
    pub apic_khz: Option<u32>,
}

/// KVM's local APIC counts nanoseconds, unless it is told otherwise (KVM API,
/// `KVM_CAP_X86_APIC_BUS_CYCLES_NS`).
const KVM_APIC_KHZ: u32 = 1_000_000;
/// The timing leaf of hypervisors: EAX is the TSC, EBX the local APIC's timer, in kHz.
const TIMING: u32 = 0x4000_0010;

/// Tells the guest `clocks` by every leaf that it may look for them.
pub(crate) fn describe(leaves: &mut Leaves, clocks: Clocks) {
    let Some(tsc) = clocks.tsc_khz.filter(|&khz| khz > 0) else {
        return;
    };
    let apic = clocks
        .apic_khz
        .filter(|&khz| khz > 0)
        .unwrap_or(KVM_APIC_KHZ);
    if leaves.get(HYPERVISOR, 0).is_some() {
        leaves.remove(TIMING, |_| true);
        let timing = CpuidEntry {
            function: TIMING,
            eax: tsc,
            ebx: apic,
            ..Default::default()
        };
        leaves.put(timing);
    }
    describe_crystal(leaves, tsc, apic);
    if let Some(leaf) = leaves.get_mut(0x16, 0) {
        // Base and highest frequency, bus: in MHz, 16 bits (Intel SDM vol. 2A, leaf 16H).
        let [tsc, apic] = [tsc, apic].map(|khz| (khz.saturating_add(500) / 1000).min(0xffff));
        (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) = (tsc, tsc, apic, 0);
    }
}

/// Leaf 15H: the TSC runs EBX / EAX times as fast as a crystal of ECX hertz, which drives the local
/// APIC's timer too (Intel SDM vol. 3A, 11.5.4 and 19.7.3).
///
/// Linux multiplies the crystal in kHz by EBX in 32 bits, so the ratio is the best one that is small
/// enough for it: off by less than 50 in a million on any real clock.
fn describe_crystal(leaves: &mut Leaves, tsc: u32, apic: u32) {
    let Some(leaf) = leaves.get_mut(0x15, 0) else {
        return;
    };
    let ratio = approximate(tsc, apic, u32::MAX / apic);
    (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) = match (ratio, apic.checked_mul(1000)) {
        (Some((numerator, denominator)), Some(hertz)) => (denominator, numerator, hertz, 0),
        _ => (0, 0, 0, 0), // not enumerated
    };
}

/// The fraction nearest to `numerator / denominator` whose parts are at most `limit`: the last
/// convergent of the continued fraction, or the last step towards the next one.
fn approximate(numerator: u32, denominator: u32, limit: u32) -> Option<(u32, u32)> {
    let (mut above, mut below) = (numerator, denominator);
    let (mut last, mut best) = ((0_u32, 1_u32), (1_u32, 0_u32));
    while let Some(quotient) = above.checked_div(below) {
        (above, below) = (below, above % below);
        let room = |last: u32, best: u32| limit.saturating_sub(last).checked_div(best);
        let top = room(last.0, best.0).unwrap_or(u32::MAX);
        let steps = quotient
            .min(top)
            .min(room(last.1, best.1).unwrap_or(u32::MAX));
        let towards = |last: u32, best: u32| last.saturating_add(steps.saturating_mul(best));
        (last, best) = (best, (towards(last.0, best.0), towards(last.1, best.1)));
        if steps < quotient {
            let exact = (numerator, denominator);
            best = if is_nearer(best, last, exact) {
                best
            } else {
                last
            };
            break;
        }
    }
    (best.0 > 0 && best.1 > 0).then_some(best)
}

/// Whether the fraction `one` is nearer to `exact` than `other` is.
fn is_nearer(one: (u32, u32), other: (u32, u32), exact: (u32, u32)) -> bool {
    let wide = |value: u32| u128::from(value);
    let miss = |of: (u32, u32)| (wide(of.0) * wide(exact.1)).abs_diff(wide(exact.0) * wide(of.1));
    miss(one) * wide(other.1) < miss(other) * wide(one.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Leaves {
        let leaf = |function| CpuidEntry {
            function,
            ..CpuidEntry::default()
        };
        Leaves::from_host(&[leaf(0x15), leaf(0x16), leaf(HYPERVISOR)])
    }

    #[test]
    fn a_known_tsc_is_in_every_timing_leaf() {
        let mut leaves = host();

        describe(
            &mut leaves,
            Clocks {
                tsc_khz: Some(2_596_140),
                apic_khz: None,
            },
        );

        let timing = leaves.get(TIMING, 0).unwrap();
        assert_eq!((timing.eax, timing.ebx), (2_596_140, 1_000_000));
        let mega = leaves.get(0x16, 0).unwrap();
        assert_eq!((mega.eax, mega.ebx, mega.ecx), (2596, 2596, 1000));
    }

    #[test]
    fn the_crystal_fits_linux_s_32_bits_and_is_nearly_right() {
        for tsc in [
            800_000, 1_999_999, 2_100_000, 2_596_140, 3_792_881, 4_999_001,
        ] {
            for apic in [24_000, 25_000, 100_000, 1_000_000] {
                let mut leaves = host();

                describe(
                    &mut leaves,
                    Clocks {
                        tsc_khz: Some(tsc),
                        apic_khz: Some(apic),
                    },
                );

                let leaf = leaves.get(0x15, 0).unwrap();
                let khz = (leaf.ecx / 1000).checked_mul(leaf.ebx).unwrap() / leaf.eax;
                assert!(khz.abs_diff(tsc) <= tsc / 20_000, "{tsc} {apic}: {khz}");
            }
        }
    }

    #[test]
    fn an_unknown_tsc_leaves_the_table_alone() {
        for tsc_khz in [None, Some(0)] {
            let mut leaves = host();

            describe(
                &mut leaves,
                Clocks {
                    tsc_khz,
                    apic_khz: None,
                },
            );

            assert!(leaves.get(TIMING, 0).is_none());
            assert_eq!(leaves.get(0x15, 0).unwrap().ecx, 0);
        }
    }

    #[test]
    fn a_table_without_the_hypervisor_s_signature_gets_no_timing_leaf() {
        let mut leaves = Leaves::from_host(&[]);

        describe(
            &mut leaves,
            Clocks {
                tsc_khz: Some(1),
                apic_khz: Some(u32::MAX),
            },
        );

        assert!(leaves.get(TIMING, 0).is_none());
    }
}
