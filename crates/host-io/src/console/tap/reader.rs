//! A reader of a console's output.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::ConsoleTap;

/// A reader: first of the output that was kept when it came, then of all that follows. It holds nobody up.
#[derive(Debug)]
pub struct TapReader {
    tap: Arc<ConsoleTap>,
    number: u64,
    position: u64,
    kept: u64,
}

/// A piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TapRead {
    /// Bytes before these that the reader has missed, as it was slower than the guest.
    pub missed: u64,
    /// The output; not empty.
    pub bytes: Vec<u8>,
}

impl TapReader {
    pub(super) fn new(tap: Arc<ConsoleTap>) -> Self {
        let mut record = tap.record.lock();
        let (number, position) = (record.number(), record.start());
        let kept = record.end() - position;
        drop(record);
        Self {
            tap,
            number,
            position,
            kept,
        }
    }

    /// The bytes that had been printed, and were kept, when the reader was made: it reads these first.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// The bytes that can be read now.
    pub fn waiting(&self) -> u64 {
        self.tap.record.lock().end() - self.position
    }

    /// Waits for output: whether there is any, and false when there will be no more.
    pub fn poll_waiting(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let mut record = self.tap.record.lock();
        match self.position < record.end() {
            true => Poll::Ready(true),
            false if record.is_closed => Poll::Ready(false),
            false => {
                record.wait(self.number, context.waker());
                Poll::Pending
            }
        }
    }

    /// Reads up to `most` bytes, at least 1, without waiting.
    pub fn read(&mut self, most: usize) -> Option<TapRead> {
        let record = self.tap.record.lock();
        let missed = record.start().saturating_sub(self.position);
        self.position += missed;
        let bytes = record.from(self.position, most.max(1));
        self.position += bytes.len() as u64;
        (!bytes.is_empty()).then_some(TapRead { missed, bytes })
    }
}

impl Drop for TapReader {
    fn drop(&mut self) {
        self.tap.record.lock().forget(self.number);
    }
}
