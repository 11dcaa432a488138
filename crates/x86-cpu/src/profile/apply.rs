//! A profile on a host: the guest's leaves, or what the host lacks.

use vmmkit_hypervisor::x86::{CpuidEntry, Msr};

use super::{Bit, Others, Profile, Word, machine};
use crate::leaves::{BASIC, EXTENDED, HYPERVISOR, Leaves};
use crate::{CpuidError, Feature, Register};

/// XSAVE's leaf: which state there is, and where in memory each part of it lies.
const XSAVE: u32 = 0xd;
/// Physical and linear address bits, 7:0 and 15:8 of EAX (AMD APM vol. 3, E.4.6).
const ADDRESSES: u32 = 0x8000_0008;
/// Words of single bits, beside those with names: XCR0, KVM's own features (KVM's cpuid.rst), SVM's,
/// and those of leaf 7.2 and 0x80000021 (Intel SDM vol. 2A, table 3-8; AMD APM vol. 3, E.4.9 and E.4.19).
const BIT_WORDS: [(u32, u32, Register); 7] = [
    (7, 2, Register::Edx),
    (XSAVE, 0, Register::Eax),
    (XSAVE, 0, Register::Edx),
    (XSAVE, 1, Register::Ecx),
    (0x4000_0001, 0, Register::Eax),
    (0x8000_000a, 0, Register::Edx),
    (0x8000_0021, 0, Register::Eax),
];
/// MSRs whose bits are features of the CPU: the architecture's and the core's capabilities (Intel SDM
/// vol. 4, table 2-2).
const BIT_MSRS: [u32; 2] = [0x10a, 0xcf];

impl Profile {
    /// The leaves of a guest on a host that has `host`.
    pub(crate) fn leaves_on(&self, host: &Leaves) -> Result<Leaves, CpuidError> {
        self.check_vendor(host)?;
        let mut guest = match self.others {
            Others::Host => host.clone(),
            // A table without these is none, and a guest finds KVM by the last.
            Others::Absent => {
                let kept = [BASIC, EXTENDED, HYPERVISOR];
                let entries = host.entries().filter(|leaf| kept.contains(&leaf.function));
                Leaves::from_host(&entries.copied().collect::<Vec<_>>())
            }
        };
        let mut lacking = Vec::new();
        for (&(function, index), leaf) in &self.leaves {
            let of_host = host.get(function, index).copied().unwrap_or_default();
            let kept = guest.get(function, index).copied();
            let mut entry = CpuidEntry {
                function,
                index,
                significant_index: leaf.indexed || kept.is_some_and(|it| it.significant_index),
                ..kept.unwrap_or_default()
            };
            for (register, word) in Register::ALL.into_iter().zip(leaf.words) {
                let word = word.without(machine::bits(function, index, register));
                let has = register.of(&of_host);
                if is_bits(function, index, register) {
                    let lacks = word.value & !has;
                    lacking.extend(Bit::of(function, index, register, lacks));
                }
                check_number(function, index, register, word, has)?;
                let target = register.of_mut(&mut entry);
                *target = *target & !word.mask | word.value;
            }
            guest.put(entry);
        }
        match lacking.is_empty() {
            true => Ok(guest),
            false => Err(CpuidError::ProfileLacks(lacking.into())),
        }
    }

    fn check_vendor(&self, host: &Leaves) -> Result<(), CpuidError> {
        let is = host.vendor();
        match &self.vendor {
            Some(wanted) if *wanted != is => Err(CpuidError::Vendor {
                wanted: wanted.clone(),
                host: is,
            }),
            _ => Ok(()),
        }
    }

    /// Checks the MSRs whose bits are features against those of `host`; of others only the hypervisor
    /// knows whether it takes them.
    pub(crate) fn check_msrs(&self, host: &[Msr]) -> Result<(), CpuidError> {
        for &Msr { index, value } in &self.msrs {
            let found = host.iter().find(|msr| msr.index == index);
            let has = found.map_or(0, |msr| msr.value);
            let lacks = value & !has;
            if BIT_MSRS.contains(&index) && lacks != 0 {
                let bit = lacks.trailing_zeros();
                return Err(CpuidError::MsrLacks { index, bit });
            }
        }
        Ok(())
    }
}

impl Word {
    fn without(self, bits: u32) -> Self {
        Self {
            mask: self.mask & !bits,
            value: self.value & !bits,
        }
    }
}

/// Whether each bit of the register stands for something by itself.
fn is_bits(function: u32, index: u32, register: Register) -> bool {
    let place = (function, index, register);
    let mut named = Feature::all().map(|it| (it.function, it.index, it.register));
    BIT_WORDS.contains(&place) || named.any(|it| it == place)
}

/// Numbers that a host cannot give otherwise than it has them: wider addresses, or another place for a
/// part of XSAVE's state.
fn check_number(
    function: u32,
    index: u32,
    register: Register,
    word: Word,
    has: u32,
) -> Result<(), CpuidError> {
    let refused = |bits: &'static str, wanted, host| CpuidError::ProfileNumber {
        function,
        index,
        register,
        bits,
        wanted,
        host,
    };
    if function == ADDRESSES && register == Register::Eax {
        for (bits, shift) in [("7:0", 0), ("15:8", 8)] {
            let [wanted, host] = [word.value, has].map(|value| value >> shift & 0xff);
            if wanted > host {
                return Err(refused(bits, wanted, host));
            }
        }
    }
    let is_place = function == XSAVE && index > 1 && register != Register::Edx;
    if is_place && word.value != 0 && word.value != has & word.mask {
        return Err(refused("31:0", word.value, has));
    }
    Ok(())
}
