//! A guest's CPU as a profile, and a profile as text.

use std::collections::BTreeMap;
use std::fmt;

use vmmkit_hypervisor::x86::{CpuidEntry, Msr};

use super::{Bit, Others, Profile, Word, Words, machine};
use crate::leaves::Leaves;
use crate::{Feature, Register};

/// MSRs that are part of what a CPU is, each with the feature that says it is there: a dump has their
/// values. IA32_ARCH_CAPABILITIES and IA32_CORE_CAPABILITIES (Intel SDM vol. 4, table 2-2).
pub const CPU_MSRS: [(u32, &str); 2] = [(0x10a, "arch_capabilities"), (0xcf, "core_capabilities")];

impl Profile {
    /// The CPU of a guest whose table of one vCPU, alone in its machine, is `table`, on a host whose
    /// features in MSRs are `msrs`. With it a guest sees the same on every host that can give it.
    pub fn of_guest(name: &str, table: &[CpuidEntry], msrs: &[Msr]) -> Self {
        let guest = Leaves::from_host(table);
        let leaves = guest
            .entries()
            .filter(|leaf| !machine::decides(leaf.function))
            .map(|leaf| ((leaf.function, leaf.index), words(leaf)))
            .filter(|(_, leaf)| leaf.words.iter().any(|word| word.value != 0));
        let there = |index: u32| {
            let msr = CPU_MSRS.into_iter().find(|(number, _)| *number == index);
            let feature = msr.and_then(|(_, name)| Feature::named(name));
            feature.is_some_and(|feature| guest.has(&feature))
        };
        Self {
            name: name.to_owned(),
            vendor: Some(guest.vendor()),
            others: Others::Absent,
            leaves: leaves.collect::<BTreeMap<_, _>>(),
            msrs: msrs
                .iter()
                .filter(|msr| there(msr.index))
                .copied()
                .collect(),
        }
    }
}

fn words(leaf: &CpuidEntry) -> Words {
    Words {
        indexed: leaf.significant_index,
        words: Register::ALL.map(|register| Word {
            mask: u32::MAX,
            value: register.of(leaf) & !machine::bits(leaf.function, leaf.index, register),
        }),
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(vendor) = &self.vendor {
            writeln!(f, "vendor = {}", quoted(vendor))?;
        }
        let others = match self.others {
            Others::Absent => "absent",
            Others::Host => "host",
        };
        writeln!(f, "others = \"{others}\"")?;
        for (&(function, index), leaf) in &self.leaves {
            writeln!(f, "\n[[cpuid]]\nleaf = {function:#x}")?;
            if leaf.indexed {
                writeln!(f, "subleaf = {index}")?;
            }
            for (register, word) in Register::ALL.into_iter().zip(leaf.words) {
                let key = register.to_string().to_lowercase();
                let Word { mask, value } = word;
                match mask {
                    0 => continue,
                    // As what is not named.
                    u32::MAX if value == 0 && self.others == Others::Absent => continue,
                    u32::MAX => write!(f, "{key} = {value:#010x}")?,
                    _ => write!(
                        f,
                        "{key} = {{ mask = {mask:#010x}, value = {value:#010x} }}"
                    )?,
                }
                let names: Vec<_> = Bit::of(function, index, register, value)
                    .filter_map(|bit| bit.feature())
                    .map(|feature| feature.name)
                    .collect();
                match names.is_empty() {
                    true => writeln!(f)?,
                    false => writeln!(f, " # {}", names.join(" "))?,
                }
            }
        }
        for Msr { index, value } in &self.msrs {
            writeln!(f, "\n[[msr]]\nindex = {index:#x}")?;
            // TOML's numbers end at 63 bits.
            writeln!(f, "value = \"{value:#x}\"")?;
        }
        Ok(())
    }
}

/// TOML's basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            _ if letter.is_control() => quoted.push_str(&format!("\\U{:08X}", u32::from(letter))),
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}
