//! The last output of a console, and who waits for more.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::task::Waker;

use super::ConsoleTap;

/// The last bytes. A position counts the bytes from the first one that was ever printed.
#[derive(Debug, Default)]
pub(super) struct Record {
    bytes: VecDeque<u8>,
    /// The position behind the last byte.
    end: u64,
    /// Readers that have everything, by their number.
    waiting: BTreeMap<u64, Waker>,
    /// The number of the next reader.
    next_reader: u64,
    pub(super) is_closed: bool,
}

impl Record {
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.end += bytes.len() as u64;
        let kept = bytes.len().saturating_sub(ConsoleTap::KEPT);
        let bytes = bytes.get(kept..).unwrap_or_default();
        let excess = (self.bytes.len() + bytes.len()).saturating_sub(ConsoleTap::KEPT);
        self.bytes.drain(..excess);
        self.bytes.extend(bytes);
    }

    pub(super) fn tail(&self) -> Vec<u8> {
        self.bytes.iter().copied().collect()
    }

    /// The position of the first byte that is kept.
    pub(super) fn start(&self) -> u64 {
        self.end - self.bytes.len() as u64
    }

    /// The position behind the last byte.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Up to `most` bytes from `position` on, which is not before the first that is kept.
    pub(super) fn from(&self, position: u64, most: usize) -> Vec<u8> {
        let skipped = usize::try_from(position.saturating_sub(self.start())).unwrap_or(usize::MAX);
        self.bytes
            .iter()
            .skip(skipped)
            .take(most)
            .copied()
            .collect()
    }

    /// A number for a reader.
    pub(super) fn number(&mut self) -> u64 {
        self.next_reader += 1;
        self.next_reader
    }

    /// Reader `number` is to be woken by the next output.
    pub(super) fn wait(&mut self, number: u64, waker: &Waker) {
        self.waiting.insert(number, waker.clone());
    }

    /// Reader `number` waits no more.
    pub(super) fn forget(&mut self, number: u64) {
        self.waiting.remove(&number);
    }

    /// Those who are to be woken.
    pub(super) fn take_waiting(&mut self) -> Vec<Waker> {
        match self.waiting.is_empty() {
            true => Vec::new(),
            false => mem::take(&mut self.waiting).into_values().collect(),
        }
    }
}
