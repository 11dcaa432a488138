//! Which sectors of a disk were written: a set that costs memory where something was written only.

use std::collections::BTreeMap;

use parking_lot::RwLock;

/// Sectors of one block of the set.
const BLOCK: u64 = 1 << 15;
const WORDS: usize = BLOCK as usize / 64;

/// A set of sectors. Threads add to it and ask it at once.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Blocks by their number, a bit for each sector.
    blocks: RwLock<BTreeMap<u64, Box<[u64; WORDS]>>>,
}

impl Written {
    /// Adds the sectors from `first` to before `end`.
    pub(super) fn add(&self, first: u64, end: u64) {
        let mut blocks = self.blocks.write();
        let mut at = first;
        while at < end {
            let block = blocks
                .entry(at / BLOCK)
                .or_insert_with(|| Box::new([0; WORDS]));
            let stop = end.min((at / BLOCK + 1) * BLOCK);
            while at < stop {
                let (word, bit) = place(at);
                let bits = (stop - at).min(64 - u64::from(bit));
                if let Some(word) = block.get_mut(word) {
                    *word |= mask(bit, bits);
                }
                at += bits;
            }
        }
    }

    /// Whether `first` is in the set, and the first sector after it, at most `end`, that is not as it is.
    pub(super) fn run(&self, first: u64, end: u64) -> (bool, u64) {
        let blocks = self.blocks.read();
        let block = |at: u64| blocks.get(&(at / BLOCK));
        let is_in = |at: u64| {
            let (word, bit) = place(at);
            let word = block(at).and_then(|block| block.get(word));
            word.is_some_and(|word| word >> bit & 1 != 0)
        };
        let wanted = is_in(first);
        let mut at = first;
        while at < end {
            let Some(block) = block(at) else {
                // Nothing of it is in the set.
                if wanted {
                    break;
                }
                at = (at / BLOCK + 1) * BLOCK;
                continue;
            };
            let (word, bit) = place(at);
            let word = block.get(word).copied().unwrap_or_default();
            let other = if wanted { !word } else { word } >> bit;
            let same = u64::from(other.trailing_zeros()).min(64 - u64::from(bit));
            at += same;
            if other != 0 {
                break;
            }
        }
        (wanted, at.min(end))
    }
}

/// The word of a sector in its block, and its bit there.
fn place(sector: u64) -> (usize, u32) {
    let within = sector % BLOCK;
    ((within / 64) as usize, (within % 64) as u32)
}

/// `bits` ones from `bit` on: both together are at most 64.
fn mask(bit: u32, bits: u64) -> u64 {
    match bits {
        64 => u64::MAX,
        bits => ((1 << bits) - 1) << bit,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECTORS: u64 = 3 * BLOCK;

    /// The same, sector by sector.
    fn run(twin: &[bool], first: u64, end: u64) -> (bool, u64) {
        let wanted = twin[first as usize];
        let next = (first..end).find(|at| twin[*at as usize] != wanted);
        (wanted, next.unwrap_or(end))
    }

    proptest! {
        #[test]
        fn runs_are_those_of_a_plain_set(
            added in prop::collection::vec((0..SECTORS, 1..200_u64), 0..20),
            asked in prop::collection::vec((0..SECTORS, 1..SECTORS), 1..20),
        ) {
            let written = Written::default();
            let mut twin = vec![false; SECTORS as usize];
            for (first, length) in added {
                let end = (first + length).min(SECTORS);
                written.add(first, end);
                twin[first as usize..end as usize].fill(true);
            }
            for (first, length) in asked {
                let end = (first + length).min(SECTORS);
                prop_assert_eq!(written.run(first, end), run(&twin, first, end));
            }
        }
    }
}
