//! How the vCPUs are arranged.

use std::fmt;

use thiserror::Error;
use vmmkit_hypervisor::VcpuId;

/// The arrangement of a machine's vCPUs: packages (sockets) of dies of cores of threads.
///
/// vCPUs are numbered from 0, threads of a core first. A vCPU's (x2)APIC ID is made of its place at
/// each level, in as many bits as the level needs (Intel SDM vol. 3A, 9.9): the number itself unless a
/// level has a count that is not a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    // Each at least 1; the highest APIC ID fits 31 bits, but for the single level of `of`.
    sockets: u32,
    dies: u32,
    cores: u32,
    threads: u32,
}

/// Why there is no such arrangement.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// A level without anything in it.
    #[error("0 {0}: there must be at least 1")]
    Zero(&'static str),
    /// There are not that many APIC IDs.
    #[error("no machine has that many vCPUs")]
    TooMany,
    /// It is of another number of vCPUs.
    #[error("{topology} are {} vCPUs, not {vcpus}", .topology.vcpus())]
    OtherNumber {
        /// The number asked for.
        vcpus: u32,
        /// The arrangement.
        topology: Topology,
    },
    /// It needs APIC IDs that the hypervisor does not have.
    #[error("the APIC IDs of {topology} go up to {highest}, those of this hypervisor to {max}")]
    ApicIds {
        /// The arrangement.
        topology: Topology,
        /// Its highest APIC ID.
        highest: u32,
        /// The highest that the hypervisor has.
        max: u32,
    },
}

impl Topology {
    /// `vcpus` cores of one thread in one package; 0 counts as 1.
    pub fn of(vcpus: u32) -> Self {
        Self {
            sockets: 1,
            dies: 1,
            cores: vcpus.max(1),
            threads: 1,
        }
    }

    /// `sockets` packages of `dies` dies each, of `cores` cores each, of `threads` threads each.
    ///
    /// # Errors
    /// [`TopologyError`] for a level of 0, or more than 31 bits of APIC IDs.
    ///
    /// ```
    /// # use vmmkit_x86_cpu::Topology;
    /// let topology = Topology::new(2, 1, 3, 2)?;
    /// assert_eq!(topology.vcpus(), 12);
    /// // 3 cores take 2 bits: the first vCPU of the second package has APIC ID 8.
    /// assert_eq!(topology.apic_id(6), 8);
    /// # Ok::<(), vmmkit_x86_cpu::TopologyError>(())
    /// ```
    pub fn new(sockets: u32, dies: u32, cores: u32, threads: u32) -> Result<Self, TopologyError> {
        let topology = Self {
            sockets,
            dies,
            cores,
            threads,
        };
        let levels = topology.levels();
        if let Some((name, _)) = levels.into_iter().find(|&(_, count)| count == 0) {
            return Err(TopologyError::Zero(name));
        }
        let bits: u32 = levels.into_iter().map(|(_, count)| bits_of(count)).sum();
        if bits > 31 {
            return Err(TopologyError::TooMany);
        }
        Ok(topology)
    }

    /// The number of vCPUs, at least 1.
    pub fn vcpus(&self) -> u32 {
        self.sockets * self.package()
    }

    /// It must arrange `vcpus` vCPUs, by APIC IDs up to `max`.
    ///
    /// # Errors
    /// [`TopologyError`] if it does not.
    pub fn check(&self, vcpus: u32, max: u32) -> Result<(), TopologyError> {
        let topology = *self;
        let highest = self.apic_id(self.vcpus() - 1);
        if vcpus != self.vcpus() {
            return Err(TopologyError::OtherNumber { vcpus, topology });
        }
        if highest > max {
            return Err(TopologyError::ApicIds {
                topology,
                highest,
                max,
            });
        }
        Ok(())
    }

    /// Packages.
    pub fn sockets(&self) -> u32 {
        self.sockets
    }

    /// Dies in a package.
    pub fn dies(&self) -> u32 {
        self.dies
    }

    /// Cores in a die.
    pub fn cores(&self) -> u32 {
        self.cores
    }

    /// Threads in a core.
    pub fn threads(&self) -> u32 {
        self.threads
    }

    /// The (x2)APIC ID of the vCPU numbered `vcpu`, which is below [`vcpus`](Self::vcpus).
    pub fn apic_id(&self, vcpu: u32) -> u32 {
        let (vcpu, thread) = (vcpu / self.threads, vcpu % self.threads);
        let (vcpu, core) = (vcpu / self.cores, vcpu % self.cores);
        let (socket, die) = (vcpu / self.dies, vcpu % self.dies);
        let at = |place: u32, shift: u32| place.checked_shl(shift).unwrap_or(0);
        thread
            | at(core, self.core_shift())
            | at(die, self.die_shift())
            | at(socket, self.package_shift())
    }

    /// The same, as a VM calls the vCPU by it.
    pub fn id(&self, vcpu: u32) -> VcpuId {
        VcpuId(self.apic_id(vcpu))
    }

    /// The APIC IDs in the order of the vCPUs.
    pub fn apic_ids(&self) -> impl Iterator<Item = u32> {
        (0..self.vcpus()).map(|vcpu| self.apic_id(vcpu))
    }

    /// Logical processors in a die.
    pub(crate) fn die(&self) -> u32 {
        self.cores * self.threads
    }

    /// Logical processors in a package.
    pub(crate) fn package(&self) -> u32 {
        self.dies * self.die()
    }

    /// How many low bits of an APIC ID tell threads of a core apart.
    pub(crate) fn core_shift(&self) -> u32 {
        bits_of(self.threads)
    }

    /// How many low bits tell logical processors of a die apart.
    pub(crate) fn die_shift(&self) -> u32 {
        self.core_shift() + bits_of(self.cores)
    }

    /// How many low bits tell logical processors of a package apart.
    pub(crate) fn package_shift(&self) -> u32 {
        self.die_shift() + bits_of(self.dies)
    }

    fn levels(&self) -> [(&'static str, u32); 4] {
        [
            ("sockets", self.sockets),
            ("dies", self.dies),
            ("cores", self.cores),
            ("threads", self.threads),
        ]
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sockets,
            dies,
            cores,
            threads,
        } = self;
        write!(
            f,
            "sockets={sockets},dies={dies},cores={cores},threads={threads}"
        )
    }
}

/// How many bits number `count` things from 0.
fn bits_of(count: u32) -> u32 {
    u32::BITS - count.saturating_sub(1).leading_zeros()
}

/// The highest of the numbers that `bits` bits hold.
pub(crate) fn last_of(bits: u32) -> u32 {
    u32::MAX
        .checked_shr(u32::BITS - bits.min(u32::BITS))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_package_counts_its_apic_ids_from_0() {
        for (vcpus, bits, last) in [
            (0, 0, 0),
            (1, 0, 0),
            (2, 1, 1),
            (3, 2, 3),
            (4, 2, 3),
            (5, 3, 7),
            (256, 8, 255),
            (u32::MAX, 32, u32::MAX),
        ] {
            let topology = Topology::of(vcpus);
            assert_eq!(topology.package_shift(), bits);
            assert_eq!(last_of(bits), last);
            let highest = topology.vcpus() - 1;
            assert_eq!(topology.apic_id(highest), highest);
        }
    }

    #[test]
    fn each_level_has_bits_of_its_own() {
        let topology = Topology::new(2, 2, 3, 2).unwrap();

        let ids: Vec<u32> = topology.apic_ids().collect();
        assert_eq!(
            ids,
            [
                0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 16, 17, 18, 19, 20, 21, 24, 25, 26, 27, 28,
                29
            ]
        );
        assert_eq!(
            (
                topology.core_shift(),
                topology.die_shift(),
                topology.package_shift()
            ),
            (1, 3, 4)
        );
    }

    #[test]
    fn what_no_apic_id_can_number_is_refused() {
        assert_eq!(Topology::new(1, 1, 0, 1), Err(TopologyError::Zero("cores")));
        let error = Topology::new(1 << 16, 1, 1 << 15, 2).unwrap_err();
        assert_eq!(error, TopologyError::TooMany);
        assert!(Topology::new(1 << 16, 1, 1 << 15, 1).is_ok());

        let topology = Topology::new(3, 1, 3, 1).unwrap();
        assert_eq!(topology.check(9, 10), Ok(()));
        assert!(topology.check(8, 10).is_err());
        assert_eq!(
            topology.check(9, 9).unwrap_err().to_string(),
            "the APIC IDs of sockets=3,dies=1,cores=3,threads=1 go up to 10, those of this hypervisor to 9"
        );
    }
}
