//! Blocks of the host's in which several sectors of the guest's lie: who changes a part of one reads
//! it, changes it and writes it back, and nobody else may change it meanwhile.

use std::ops::Range;

use parking_lot::{Condvar, Mutex, MutexGuard};

/// Ranges of bytes that are being changed, all of them whole blocks.
///
/// Those that are written whole may overlap as they like; one of which a part is rewritten is changed
/// by nobody else. Who waits here must hold nothing.
#[derive(Debug, Default)]
pub(super) struct SharedBlocks {
    changed: Mutex<Changed>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Changed {
    whole: Vec<Range<u64>>,
    rewritten: Vec<Range<u64>>,
}

/// A range that is being changed until this is dropped.
pub(super) struct Change<'a> {
    blocks: &'a SharedBlocks,
    range: Range<u64>,
    is_rewritten: bool,
}

impl SharedBlocks {
    /// Begins to write whole blocks, unless one of them is being rewritten:
    /// [`end_whole`](Self::end_whole) ends it.
    pub(super) fn try_whole(&self, range: Range<u64>) -> bool {
        let mut changed = self.changed();
        let is_free = !overlaps(&changed.rewritten, &range);
        if is_free {
            changed.whole.push(range);
        }
        is_free
    }

    /// Ends what [`try_whole`](Self::try_whole) began.
    pub(super) fn end_whole(&self, range: &Range<u64>) {
        remove(&mut self.changed().whole, range);
        self.ended.notify_all();
    }

    /// Begins to write whole blocks, once none of them is being rewritten.
    pub(super) fn whole(&self, range: Range<u64>) -> Change<'_> {
        let mut changed = self.until(self.changed(), |changed| {
            !overlaps(&changed.rewritten, &range)
        });
        changed.whole.push(range.clone());
        self.change(range, false)
    }

    /// Begins to rewrite blocks, once nobody else changes one of them.
    pub(super) fn rewrite(&self, range: Range<u64>) -> Change<'_> {
        let mut changed = self.until(self.changed(), |changed| {
            !overlaps(&changed.rewritten, &range)
        });
        // From here on nobody else begins, and those who have begun end.
        changed.rewritten.push(range.clone());
        drop(self.until(changed, |changed| !overlaps(&changed.whole, &range)));
        self.change(range, true)
    }

    fn change(&self, range: Range<u64>, is_rewritten: bool) -> Change<'_> {
        Change {
            blocks: self,
            range,
            is_rewritten,
        }
    }

    fn until<'a>(
        &self,
        mut changed: MutexGuard<'a, Changed>,
        is_free: impl Fn(&Changed) -> bool,
    ) -> MutexGuard<'a, Changed> {
        while !is_free(&changed) {
            self.ended.wait(&mut changed);
        }
        changed
    }

    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock()
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let mut changed = self.blocks.changed();
        let ranges = match self.is_rewritten {
            true => &mut changed.rewritten,
            false => &mut changed.whole,
        };
        remove(ranges, &self.range);
        drop(changed);
        self.blocks.ended.notify_all();
    }
}

fn overlaps(ranges: &[Range<u64>], other: &Range<u64>) -> bool {
    let mut ranges = ranges.iter();
    ranges.any(|range| range.start < other.end && other.start < range.end)
}

fn remove(ranges: &mut Vec<Range<u64>>, range: &Range<u64>) {
    if let Some(place) = ranges.iter().position(|other| other == range) {
        ranges.swap_remove(place);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn whole_blocks_are_written_beside_each_other_but_not_while_a_part_is_rewritten() {
        let blocks = SharedBlocks::default();
        assert!(blocks.try_whole(0..8192));
        let beside = blocks.whole(4096..8192);
        drop(beside);
        blocks.end_whole(&(0..8192));
        let rewrite = blocks.rewrite(4096..8192);
        assert!(!blocks.try_whole(0..8192));
        assert!(blocks.try_whole(8192..12288));
        drop(rewrite);
        assert!(blocks.try_whole(0..8192));
    }

    #[test]
    fn a_rewrite_waits_for_what_was_begun_and_goes_before_what_begins_later() {
        let blocks = SharedBlocks::default();
        assert!(blocks.try_whole(0..4096));
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let change = blocks.rewrite(0..4096);
                is_done.store(true, Ordering::SeqCst);
                drop(change);
            });
            while blocks.changed().rewritten.is_empty() {
                thread::yield_now();
            }
            assert!(!blocks.try_whole(0..4096));
            assert!(!is_done.load(Ordering::SeqCst));
            blocks.end_whole(&(0..4096));
        });
        assert!(is_done.load(Ordering::SeqCst) && blocks.try_whole(0..4096));
    }
}
