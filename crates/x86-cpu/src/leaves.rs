//! A CPUID table that is being worked on.

use std::collections::BTreeMap;

use vmmkit_hypervisor::x86::CpuidEntry;

use crate::Feature;

/// Highest basic leaf and vendor (Intel SDM vol. 2A, table 3-8, leaf 0).
pub(crate) const BASIC: u32 = 0;
/// Highest hypervisor leaf and signature (KVM's cpuid.rst).
pub(crate) const HYPERVISOR: u32 = 0x4000_0000;
/// Highest extended leaf (Intel SDM vol. 2A, table 3-8, leaf 80000000H; AMD APM vol. 3, E.4.1).
pub(crate) const EXTENDED: u32 = 0x8000_0000;
/// The leaves that the leaf at such a start counts: as many as share its upper half.
const RANGE: u32 = 0xffff;

/// Leaves by function and index.
#[derive(Clone)]
pub(crate) struct Leaves {
    entries: BTreeMap<(u32, u32), CpuidEntry>,
}

impl Leaves {
    /// The host's table. Of entries for the same place the first counts, as it does in KVM.
    pub(crate) fn from_host(supported: &[CpuidEntry]) -> Self {
        let mut leaves = Self {
            entries: BTreeMap::new(),
        };
        for entry in supported {
            let index = if entry.significant_index {
                entry.index
            } else {
                0
            };
            let entry = CpuidEntry { index, ..*entry };
            leaves
                .entries
                .entry((entry.function, index))
                .or_insert(entry);
        }
        leaves
    }

    /// The leaf at `function`, sub-leaf `index`.
    pub(crate) fn get(&self, function: u32, index: u32) -> Option<&CpuidEntry> {
        self.entries.get(&(function, index))
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, function: u32, index: u32) -> Option<&mut CpuidEntry> {
        self.entries.get_mut(&(function, index))
    }

    /// Every sub-leaf of `function`.
    pub(crate) fn all_mut(&mut self, function: u32) -> impl Iterator<Item = &mut CpuidEntry> {
        let sub_leaves = self.entries.range_mut((function, 0)..=(function, u32::MAX));
        sub_leaves.map(|(_, entry)| entry)
    }

    /// Puts `entry` at its place, whatever was there.
    pub(crate) fn put(&mut self, entry: CpuidEntry) {
        self.entries.insert((entry.function, entry.index), entry);
    }

    /// Puts `sub_leaves` in place of all that `function` had: EAX, EBX, ECX, EDX of each.
    pub(crate) fn put_all(&mut self, function: u32, sub_leaves: &[[u32; 4]]) {
        self.remove(function, |_| true);
        for (index, &[eax, ebx, ecx, edx]) in (0..).zip(sub_leaves) {
            let significant_index = true;
            self.put(CpuidEntry {
                function,
                index,
                significant_index,
                eax,
                ebx,
                ecx,
                edx,
            });
        }
    }

    /// Drops those sub-leaves of `function` whose entry `unwanted` names.
    pub(crate) fn remove(&mut self, function: u32, unwanted: impl Fn(&CpuidEntry) -> bool) {
        self.entries
            .retain(|_, entry| entry.function != function || !unwanted(entry));
    }

    /// The feature's bit is set.
    pub(crate) fn has(&self, feature: &Feature) -> bool {
        let entry = self.get(feature.function, feature.index);
        entry.is_some_and(|entry| feature.register.of(entry) & bit(feature) != 0)
    }

    /// Clears the feature's bit.
    pub(crate) fn clear(&mut self, feature: &Feature) {
        let Some(entry) = self.get_mut(feature.function, feature.index) else {
            return;
        };
        *feature.register.of_mut(entry) &= !bit(feature);
    }

    /// Sets the feature's bit; the leaf is there from then on.
    pub(crate) fn set(&mut self, feature: &Feature) {
        let place = (feature.function, feature.index);
        let entry = self.entries.entry(place).or_insert(CpuidEntry {
            function: feature.function,
            index: feature.index,
            significant_index: feature.index > 0 || feature.function == 7,
            ..CpuidEntry::default()
        });
        *feature.register.of_mut(entry) |= bit(feature);
    }

    /// Every entry, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &CpuidEntry> {
        self.entries.values()
    }

    /// The vendor's 12 letters (Intel SDM vol. 2A, table 3-8, leaf 0; AMD APM vol. 3, E.3.1).
    pub(crate) fn vendor(&self) -> String {
        let words = self
            .get(BASIC, 0)
            .map(|leaf| [leaf.ebx, leaf.edx, leaf.ecx]);
        let bytes: Vec<u8> = words
            .iter()
            .flatten()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The vendor is AMD, or Hygon, whose CPUs are AMD's.
    pub(crate) fn is_amd(&self) -> bool {
        ["AuthenticAMD", "HygonGenuine"].contains(&self.vendor().as_str())
    }

    /// The table in order, its highest leaves named truly.
    pub(crate) fn into_entries(mut self) -> Vec<CpuidEntry> {
        let basic = CpuidEntry::default();
        self.entries.entry((BASIC, 0)).or_insert(basic);
        self.name_highest(BASIC);
        self.name_highest(HYPERVISOR);
        self.name_highest(EXTENDED);
        self.name_highest_of_7();
        self.entries.into_values().collect()
    }

    fn name_highest(&mut self, first: u32) {
        let range = (first, 0)..=(first | RANGE, u32::MAX);
        let highest = self.entries.range(range).next_back();
        let Some((&(highest, _), _)) = highest else {
            return;
        };
        if let Some(leaf) = self.get_mut(first, 0) {
            leaf.eax = highest;
        }
    }

    /// Leaf 7 counts its own sub-leaves (Intel SDM vol. 2A, table 3-8, leaf 7).
    fn name_highest_of_7(&mut self) {
        let highest = self.entries.range((7, 0)..=(7, u32::MAX)).next_back();
        let highest = highest.map_or(0, |(&(_, index), _)| index);
        if let Some(leaf) = self.get_mut(7, 0) {
            leaf.eax = highest;
        }
    }
}

fn bit(feature: &Feature) -> u32 {
    1_u32.checked_shl(feature.bit).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(function: u32, eax: u32) -> CpuidEntry {
        CpuidEntry {
            function,
            eax,
            ..CpuidEntry::default()
        }
    }

    #[test]
    fn of_entries_for_one_place_the_first_counts() {
        let leaves = Leaves::from_host(&[
            leaf(5, 1),
            CpuidEntry {
                index: 9,
                ..leaf(5, 2)
            },
        ]);

        assert_eq!(leaves.get(5, 0).map(|leaf| leaf.eax), Some(1));
        assert_eq!(
            leaves.into_entries().len(),
            2,
            "leaf 5 and the one that names it"
        );
    }

    #[test]
    fn the_first_leaf_of_each_range_names_the_last() {
        let host = [
            leaf(0x8000_0008, 0),
            leaf(0x8000_0000, 0x8000_001f),
            leaf(1, 0),
            leaf(0, 99),
        ];

        let table = Leaves::from_host(&host).into_entries();

        assert_eq!(table[0], leaf(0, 1));
        assert_eq!(table[2], leaf(0x8000_0000, 0x8000_0008));
    }

    #[test]
    fn hygon_is_amd_and_intel_is_not() {
        let vendor = |ebx, edx, ecx| {
            Leaves::from_host(&[CpuidEntry {
                ebx,
                edx,
                ecx,
                ..CpuidEntry::default()
            }])
            .is_amd()
        };

        assert!(vendor(0x6874_7541, 0x6974_6e65, 0x444d_4163));
        assert!(vendor(0x6f67_7948, 0x6e65_476e, 0x656e_6975));
        assert!(!vendor(0x756e_6547, 0x4965_6e69, 0x6c65_746e));
    }
}
