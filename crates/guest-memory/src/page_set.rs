//! Pages of RAM, one bit each: what a dirty log says, collected.

use crate::{GuestRam, PAGE_SIZE, PageRuns};

/// Any pages of one RAM. The number of a page counts the pages of RAM from 0, without the MMIO hole.
///
/// ```
/// use vmmkit_guest_memory::PageSet;
///
/// let mut pages = PageSet::default();
/// pages.insert_words(64, &[0b101]);
/// assert_eq!((pages.len(), pages.runs().as_slice().len()), (2, 2));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageSet {
    words: Vec<u64>,
}

impl PageSet {
    /// Adds a page.
    pub fn insert(&mut self, page: u64) {
        let Ok(word) = usize::try_from(page / 64) else {
            return;
        };
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word) {
            *word |= 1 << (page % 64);
        }
    }

    /// Adds the pages of a log (KVM_GET_DIRTY_LOG: one bit a page) whose bit 0 of word 0 is the page `first`.
    pub fn insert_words(&mut self, first: u64, log: &[u64]) {
        for (start, word) in (first..).step_by(64).zip(log) {
            let mut left = *word;
            while left != 0 {
                self.insert(start + u64::from(left.trailing_zeros()));
                left &= left - 1;
            }
        }
    }

    /// Adds all pages of `runs`.
    pub fn insert_runs(&mut self, runs: &PageRuns) {
        let pages = runs.as_slice().iter();
        pages
            .flat_map(|run| run.first..run.end())
            .for_each(|page| self.insert(page));
    }

    /// Adds all pages of `other`.
    pub fn insert_all(&mut self, other: &Self) {
        self.insert_words(0, &other.words);
    }

    /// The number of pages.
    pub fn len(&self) -> u64 {
        let bits = self.words.iter().map(|word| u64::from(word.count_ones()));
        bits.sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// They as runs, and perhaps [some more](PageRuns::add).
    pub fn runs(&self) -> PageRuns {
        let mut runs = PageRuns::default();
        for (start, word) in (0..).step_by(64).zip(&self.words) {
            let (mut left, mut place) = (*word, start);
            while left != 0 {
                let gap = left.trailing_zeros();
                let ones = (left >> gap).trailing_ones();
                runs.add(place + u64::from(gap), u64::from(ones));
                place += u64::from(gap + ones);
                // A shift by 64 leaves nothing.
                left = left.checked_shr(gap + ones).unwrap_or(0);
            }
        }
        runs
    }
}

impl GuestRam {
    /// The pages that were written since the last call, by the guest as `log_of` a slot says (KVM_GET_DIRTY_LOG) and by the
    /// VMM ([`log_writes`](Self::log_writes)), which both forget. A write that runs at the same time is among these or the
    /// next ones, after its bytes are in RAM.
    ///
    /// # Errors
    /// That of `log_of`: some pages are forgotten, and nobody knows which.
    pub fn take_written<E>(
        &self,
        mut log_of: impl FnMut(u32) -> Result<Vec<u64>, E>,
    ) -> Result<PageSet, E> {
        let (mut pages, mut first) = (PageSet::default(), 0);
        for region in self.regions() {
            let mut log = log_of(region.slot)?;
            self.take_dirty_pages(region.slot, &mut log);
            let size = region.size / PAGE_SIZE;
            log.truncate(usize::try_from(size.div_ceil(64)).unwrap_or(usize::MAX));
            pages.insert_words(first, &log);
            first += size;
        }
        Ok(pages)
    }

    /// Logs the pages of RAM that the VMM writes from now on, as [`dirty_log`](crate::RamConfig::dirty_log) does from the
    /// start. `false` where the memory is an embedder's, which logs them itself or not.
    pub fn log_writes(&self) -> bool {
        let mut mappings = self
            .regions()
            .iter()
            .map(|region| self.mapping(region.slot));
        mappings.all(|mapping| mapping.is_some_and(|mapping| mapping.bitmap().begin()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GuestAddress, RamConfig, RamSize};

    #[test]
    fn bits_become_runs_and_runs_bits() {
        let mut pages = PageSet::default();
        assert!(pages.is_empty() && pages.runs() == PageRuns::default());
        pages.insert_words(0, &[u64::MAX, 1, 0, 1 << 63]);
        pages.insert(300);
        let runs = pages.runs();
        let all: Vec<_> = runs
            .as_slice()
            .iter()
            .map(|run| (run.first, run.pages))
            .collect();
        assert_eq!(all, [(0, 65), (255, 1), (300, 1)]);
        assert_eq!(pages.len(), 67);
        let mut again = PageSet::default();
        again.insert_runs(&runs);
        assert_eq!(again.runs(), runs);
        again.insert_all(&pages);
        assert_eq!(again, pages);
    }

    #[test]
    fn a_log_that_begins_late_has_what_both_sides_write_from_then_on() {
        let ram = GuestRam::new(&RamConfig {
            size: RamSize::mebibytes(3073),
            ..RamConfig::default()
        });
        let ram = ram.unwrap();
        let write = |address: u64| ram.write(GuestAddress(address), 1_u8).unwrap();
        write(0x1000);
        assert!(ram.log_writes());
        write(0x5000);
        write(4 << 30);
        let taken = ram.take_written(|slot| Ok::<_, ()>(vec![0b100 << slot]));
        let low = 3072 * 256;
        let mut expected = PageSet::default();
        [2, 5, low, low + 3]
            .into_iter()
            .for_each(|page| expected.insert(page));
        assert_eq!(taken.unwrap().runs(), expected.runs());
        // Once.
        assert!(ram.log_writes());
        let taken = ram.take_written(|_| Ok::<_, ()>(Vec::new()));
        assert!(taken.unwrap().is_empty());
        assert_eq!(ram.take_written(|_| Err(7)), Err(7));
    }

    #[test]
    fn bits_behind_the_end_of_a_region_are_not_those_of_the_next() {
        let size = RamSize::mebibytes(1);
        let ram = GuestRam::new(&RamConfig {
            size,
            ..RamConfig::default()
        });
        let taken = ram
            .unwrap()
            .take_written(|_| Ok::<_, ()>(vec![u64::MAX; 1000]));
        assert_eq!(taken.unwrap().len(), 256);
    }
}
