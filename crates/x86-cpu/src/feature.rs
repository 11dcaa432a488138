//! CPU features by name, and where CPUID reports them.

mod table;

use std::fmt;

use vmmkit_hypervisor::x86::CpuidEntry;

use self::table::WORDS;

/// One of the four registers that CPUID answers in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the registers are the architecture's own names"
)]
pub enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

impl Register {
    /// All four, in the order of an entry.
    pub(crate) const ALL: [Self; 4] = [Self::Eax, Self::Ebx, Self::Ecx, Self::Edx];

    /// Its part of `entry`.
    pub(crate) fn of(self, entry: &CpuidEntry) -> u32 {
        match self {
            Self::Eax => entry.eax,
            Self::Ebx => entry.ebx,
            Self::Ecx => entry.ecx,
            Self::Edx => entry.edx,
        }
    }

    /// Its part of `entry`, to be changed.
    pub(crate) fn of_mut(self, entry: &mut CpuidEntry) -> &mut u32 {
        match self {
            Self::Eax => &mut entry.eax,
            Self::Ebx => &mut entry.ebx,
            Self::Ecx => &mut entry.ecx,
            Self::Edx => &mut entry.edx,
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eax => "EAX",
            Self::Ebx => "EBX",
            Self::Ecx => "ECX",
            Self::Edx => "EDX",
        })
    }
}

/// A CPU feature that one bit of CPUID reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name, as in Linux's /proc/cpuinfo.
    pub name: &'static str,
    /// The leaf that reports it: EAX on input.
    pub function: u32,
    /// The sub-leaf: ECX on input; 0 for a leaf without.
    pub index: u32,
    /// The register of the answer.
    pub register: Register,
    /// The bit of that register, 0 to 31.
    pub bit: u32,
}

impl Feature {
    /// The feature called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|feature| feature.name == name)
    }

    /// All features that have a name here, by leaf and bit.
    pub fn all() -> impl Iterator<Item = Self> {
        WORDS.iter().flat_map(|word| {
            word.bits.iter().map(|&(bit, name)| Self {
                name,
                function: word.function,
                index: word.index,
                register: word.register,
                bit,
            })
        })
    }

    /// At most three names that are spelt much like `name`, the closest first.
    pub(crate) fn nearest(name: &str) -> Vec<&'static str> {
        const LONGEST: usize = 32; // no name is half as long
        const FAR: usize = 3;
        if name.is_empty() || name.len() > LONGEST {
            return Vec::new();
        }
        let mut near: Vec<_> = Self::all()
            .map(|feature| (distance(name, feature.name), feature.name))
            .filter(|&(distance, known)| distance < FAR && distance < known.len())
            .collect();
        near.sort_unstable();
        near.truncate(3);
        near.into_iter().map(|(_, name)| name).collect()
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            function,
            index,
            bit,
            ..
        } = self;
        let register = self.register;
        write!(
            f,
            "{name} (CPUID leaf {function:#x}.{index}, {register} bit {bit})"
        )
    }
}

/// How many letters to insert, drop or replace to get from one word to the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in (1..).zip(one.bytes()) {
        let mut left = line;
        let mut diagonal = line - 1;
        for (cell, known) in row.iter_mut().skip(1).zip(other.bytes()) {
            let replaced = diagonal + usize::from(letter != known);
            diagonal = *cell;
            left = replaced.min(left + 1).min(diagonal + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = line;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_and_no_bit_is_there_twice() {
        let all: Vec<_> = Feature::all().collect();

        for (count, feature) in all.iter().enumerate() {
            for other in &all[..count] {
                let place = |of: &Feature| (of.function, of.index, of.register, of.bit);
                assert_ne!(feature.name, other.name);
                assert_ne!(place(feature), place(other), "{feature}");
            }
            assert!(feature.bit < 32, "{feature}");
        }
        assert!(all.len() > 200);
    }

    #[test]
    fn a_feature_says_where_it_is() {
        let avx2 = Feature::named("avx2").unwrap();

        assert_eq!(avx2.to_string(), "avx2 (CPUID leaf 0x7.0, EBX bit 5)");
    }

    #[test]
    fn distance_counts_letters_to_change() {
        assert_eq!(distance("avx", "avx"), 0);
        assert_eq!(distance("avx", "avx2"), 1);
        assert_eq!(distance("avx2", "avx"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
    }
}
