//! How the vCPUs are arranged.

/// The arrangement of a machine's vCPUs: one package, a core each, one thread a core. A vCPU's
/// (x2)APIC ID is its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    vcpus: u32,
}

impl Topology {
    /// `vcpus` cores in one package; 0 counts as 1.
    pub fn of(vcpus: u32) -> Self {
        Self {
            vcpus: vcpus.max(1),
        }
    }

    /// The number of vCPUs, at least 1.
    pub fn vcpus(&self) -> u32 {
        self.vcpus
    }

    /// How many low bits of an APIC ID tell cores apart: 0 for a single one.
    pub fn core_bits(&self) -> u32 {
        u32::BITS - (self.vcpus - 1).leading_zeros()
    }

    /// How many APIC IDs a package takes, less one: the bits of [`core_bits`](Self::core_bits).
    pub(crate) fn last_apic_id(&self) -> u32 {
        u32::MAX
            .checked_shr(u32::BITS - self.core_bits())
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_bits_hold_the_highest_apic_id() {
        for (vcpus, bits, last) in [
            (0, 0, 0),
            (1, 0, 0),
            (2, 1, 1),
            (3, 2, 3),
            (4, 2, 3),
            (5, 3, 7),
            (256, 8, 255),
        ] {
            assert_eq!(Topology::of(vcpus).core_bits(), bits);
            assert_eq!(Topology::of(vcpus).last_apic_id(), last);
        }
        assert_eq!(Topology::of(u32::MAX).core_bits(), 32);
        assert_eq!(Topology::of(u32::MAX).last_apic_id(), u32::MAX);
    }
}
