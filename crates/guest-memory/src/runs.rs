//! Pages of RAM, as runs.

use thiserror::Error;

use crate::PAGE_SIZE;

/// Bytes of a run: its first page and their number, 8 bytes each, little-endian.
const ENCODED: usize = 16;

/// Pages that follow each other. The number of a page counts the pages of RAM from 0, without the MMIO hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRun {
    /// The first one.
    pub first: u64,
    /// How many.
    pub pages: u64,
}

impl PageRun {
    /// The page behind the last one.
    pub fn end(&self) -> u64 {
        self.first.saturating_add(self.pages)
    }
}

/// Some pages of RAM: at most [`MAX_RUNS`](Self::MAX_RUNS) runs in order, none empty, no two of which overlap.
///
/// ```
/// use vmmkit_guest_memory::PageRuns;
///
/// let mut runs = PageRuns::default();
/// runs.add(1, 2);
/// runs.add(3, 1);
/// runs.add(9, 1);
/// assert_eq!((runs.as_slice().len(), runs.pages()), (2, 4));
/// assert_eq!(PageRuns::from_bytes(&runs.to_bytes(), 10 * 4096)?, runs);
/// assert!(PageRuns::from_bytes(&runs.to_bytes(), 9 * 4096).is_err());
/// # Ok::<(), vmmkit_guest_memory::PageRunsError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRuns(Vec<PageRun>);

/// Why bytes are not runs of pages of a guest's RAM.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PageRunsError {
    /// The length is not that of whole runs, or of too many.
    #[error("{0} bytes: must be a multiple of {ENCODED}, for at most {max} runs", max = PageRuns::MAX_RUNS)]
    Length(usize),
    /// A run is empty, or begins before the one before it ends.
    #[error("run {number}: page {first}, {pages} pages: is empty, or out of order")]
    Order {
        /// The number of the run.
        number: usize,
        /// Its first page.
        first: u64,
        /// Its pages.
        pages: u64,
    },
    /// A run ends behind RAM.
    #[error("run {number}: ends at page {end}, and RAM at {size} bytes")]
    Outside {
        /// The number of the run.
        number: usize,
        /// The page behind its last one.
        end: u64,
        /// Bytes of RAM.
        size: u64,
    },
}

impl PageRuns {
    /// The most runs: 2 MiB of them.
    pub const MAX_RUNS: usize = 1 << 17;

    /// Adds `pages` pages from `first` on, which is behind all that are there. Where there would be too many runs, the
    /// pages between some that lie near to each other are added too.
    pub fn add(&mut self, first: u64, pages: u64) {
        if pages == 0 {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.end() >= first => {
                last.pages = first.saturating_add(pages).saturating_sub(last.first);
            }
            _ => self.0.push(PageRun { first, pages }),
        }
        if self.0.len() > Self::MAX_RUNS {
            self.coarsen();
        }
    }

    /// The runs, in order.
    pub fn as_slice(&self) -> &[PageRun] {
        &self.0
    }

    /// The number of pages.
    pub fn pages(&self) -> u64 {
        self.0.iter().map(|run| run.pages).sum()
    }

    /// 16 bytes for each run: its first page and the number of its pages, little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let words = self.0.iter().flat_map(|run| [run.first, run.pages]);
        words.flat_map(u64::to_le_bytes).collect()
    }

    /// The runs from bytes of [`to_bytes`](Self::to_bytes), of RAM of `size` bytes.
    ///
    /// # Errors
    /// [`PageRunsError`]: the first thing that is wrong.
    pub fn from_bytes(bytes: &[u8], size: u64) -> Result<Self, PageRunsError> {
        let (runs, rest) = bytes.as_chunks::<ENCODED>();
        if !rest.is_empty() || runs.len() > Self::MAX_RUNS {
            return Err(PageRunsError::Length(bytes.len()));
        }
        let mut so_far = 0;
        let read = |(number, bytes): (usize, &[u8; ENCODED])| {
            let both = u128::from_le_bytes(*bytes);
            let (first, pages) = (both as u64, (both >> 64) as u64);
            let run = PageRun { first, pages };
            if pages == 0 || first < so_far {
                return Err(PageRunsError::Order {
                    number,
                    first,
                    pages,
                });
            }
            let end = run.end();
            if end > size / PAGE_SIZE {
                return Err(PageRunsError::Outside { number, end, size });
            }
            so_far = end;
            Ok(run)
        };
        runs.iter()
            .enumerate()
            .map(read)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Joins runs with few pages between them, until at most half as many as possible are left.
    fn coarsen(&mut self) {
        let mut gap = 1;
        while self.0.len() > Self::MAX_RUNS / 2 {
            self.0.dedup_by(|next, run| {
                let is_near = next.first.saturating_sub(run.end()) <= gap;
                if is_near {
                    run.pages = next.end().saturating_sub(run.first);
                }
                is_near
            });
            gap = gap.saturating_mul(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_runs_become_longer_ones_that_hold_the_same_pages() {
        let mut runs = PageRuns::default();
        let pages = (0..200_000_u64).map(|page| page * 3);
        for page in pages.clone() {
            runs.add(page, 1);
        }
        assert!(runs.as_slice().len() <= PageRuns::MAX_RUNS);
        let holds = |page| {
            let at = runs.as_slice().partition_point(|run| run.end() <= page);
            runs.as_slice().get(at).is_some_and(|run| run.first <= page)
        };
        assert!(pages.clone().all(holds));
        assert!(PageRuns::from_bytes(&runs.to_bytes(), 600_000 * PAGE_SIZE).is_ok());
    }

    #[test]
    fn what_is_no_list_of_runs_is_refused() {
        let size = 10 * PAGE_SIZE;
        let bytes = |words: &[u64]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_le_bytes()).collect()
        };
        let refused = |words: &[u64]| PageRuns::from_bytes(&bytes(words), size).unwrap_err();
        assert_eq!(refused(&[1]), PageRunsError::Length(8));
        assert!(matches!(refused(&[1, 0]), PageRunsError::Order { .. }));
        assert!(matches!(
            refused(&[1, 2, 2, 1]),
            PageRunsError::Order { number: 1, .. }
        ));
        assert!(matches!(refused(&[9, 2]), PageRunsError::Outside { .. }));
        assert!(matches!(
            refused(&[u64::MAX, u64::MAX]),
            PageRunsError::Outside { .. }
        ));
        let many = vec![0; (PageRuns::MAX_RUNS + 1) * ENCODED];
        assert!(matches!(
            PageRuns::from_bytes(&many, size),
            Err(PageRunsError::Length(_))
        ));
    }
}
