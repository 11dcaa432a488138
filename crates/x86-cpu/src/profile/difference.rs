//! Differences of two profiles.

use std::collections::BTreeSet;
use std::fmt;

use vmmkit_hypervisor::x86::Msr;

use super::{Bit, Others, Profile, Word};
use crate::{Feature, Register};

/// One thing that two profiles say differently. Its text is one line, or one for each side's features.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// The vendor of the hosts.
    Vendor([Option<String>; 2]),
    /// Leaves that are not named are the host's in one and absent in the other.
    Others,
    /// A register of CPUID: mask and value of each.
    Register {
        /// The leaf.
        function: u32,
        /// The sub-leaf.
        index: u32,
        /// The register.
        register: Register,
        /// The bits that each decides.
        masks: [u32; 2],
        /// The values.
        values: [u32; 2],
    },
    /// An MSR, where each has it.
    Msr {
        /// Its number.
        index: u32,
        /// Its value.
        values: [Option<u64>; 2],
    },
}

impl Profile {
    /// The differences of this profile and `other`, in the order of leaves.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let mut all = Vec::new();
        if self.vendor != other.vendor {
            all.push(Difference::Vendor([
                self.vendor.clone(),
                other.vendor.clone(),
            ]));
        }
        if self.others != other.others {
            all.push(Difference::Others);
        }
        let places: BTreeSet<_> = self.leaves.keys().chain(other.leaves.keys()).collect();
        for &(function, index) in places {
            for (number, register) in Register::ALL.into_iter().enumerate() {
                let words = [self, other].map(|it| it.word(function, index, number));
                let [one, two] = words;
                if one != two {
                    all.push(Difference::Register {
                        function,
                        index,
                        register,
                        masks: words.map(|word| word.mask),
                        values: words.map(|word| word.value),
                    });
                }
            }
        }
        let numbers: BTreeSet<u32> = [self, other]
            .iter()
            .flat_map(|it| it.msrs.iter().map(|msr| msr.index))
            .collect();
        for index in numbers {
            let value = |msrs: &[Msr]| {
                let found = msrs.iter().find(|msr| msr.index == index);
                found.map(|msr| msr.value)
            };
            let values = [value(&self.msrs), value(&other.msrs)];
            let [one, two] = values;
            if one != two {
                all.push(Difference::Msr { index, values });
            }
        }
        all
    }

    /// The value of a register; `number` is 0 for EAX.
    fn word(&self, function: u32, index: u32, number: usize) -> Word {
        let leaf = self.leaves.get(&(function, index));
        let word = leaf.and_then(|leaf| leaf.words.get(number).copied());
        word.unwrap_or(match self.others {
            Others::Host => Word::default(),
            Others::Absent => Word {
                mask: u32::MAX,
                value: 0,
            },
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vendor([one, two]) => {
                let name = |vendor: &Option<String>| vendor.clone().unwrap_or("any".to_owned());
                write!(f, "vendor: {} | {}", name(one), name(two))
            }
            Self::Others => write!(f, "others: they differ"),
            Self::Msr {
                index,
                values: [one, two],
            } => {
                let text = |value: &Option<u64>| {
                    value.map_or("not there".to_owned(), |value| format!("{value:#x}"))
                };
                write!(f, "MSR {index:#x}: {} | {}", text(one), text(two))
            }
            Self::Register {
                function,
                index,
                register,
                masks: [mask_one, mask_two],
                values: [one, two],
            } => {
                write!(f, "leaf {function:#x}.{index} {register}: {one:#010x}")?;
                if *mask_one != u32::MAX {
                    write!(f, " of bits {mask_one:#010x}")?;
                }
                write!(f, " | {two:#010x}")?;
                if *mask_two != u32::MAX {
                    write!(f, " of bits {mask_two:#010x}")?;
                }
                for (side, word) in [("<", one & !two), (">", two & !one)] {
                    let bits = Bit::of(*function, *index, *register, word);
                    let features: Vec<Feature> = bits.filter_map(|bit| bit.feature()).collect();
                    if !features.is_empty() {
                        let names: Vec<_> = features.iter().map(|it| it.name).collect();
                        write!(f, "\n  {side} {}", names.join(" "))?;
                    }
                }
                Ok(())
            }
        }
    }
}
