//! The input that was typed, and who may type.

use std::collections::VecDeque;
use std::task::Waker;

use super::{ConsoleTap, TapLost, TapTaken};

/// The queue of what was typed, and its writer.
#[derive(Debug, Default)]
pub(super) struct Typing {
    bytes: VecDeque<u8>,
    /// The writer's number.
    writer: Option<u64>,
    /// The number of the last writer there was.
    last: u64,
    /// The writer waits for room, or for the end of its time.
    waiting: Option<Waker>,
    /// The console's own input counts as a writer.
    pub(super) is_own: bool,
    /// Somebody reads what is typed.
    pub(super) is_read: bool,
    is_closed: bool,
}

impl Typing {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn pop(&mut self, bytes: &mut [u8]) -> usize {
        let count = bytes.len().min(self.bytes.len());
        for (place, byte) in bytes.iter_mut().zip(self.bytes.drain(..count)) {
            *place = byte;
        }
        count
    }

    /// Makes a writer: its number, and whom it has taken over from, to be woken.
    pub(super) fn claim(&mut self, takes_over: bool) -> Result<(u64, Option<Waker>), TapTaken> {
        match self.writer {
            _ if !self.is_read => return Err(TapTaken::NotRead),
            Some(_) if !takes_over => return Err(TapTaken::ByWriter),
            None if self.is_own && !takes_over => return Err(TapTaken::ByOwnInput),
            _ => {}
        }
        self.last += 1;
        self.writer = Some(self.last);
        Ok((self.last, self.waiting.take()))
    }

    /// Writer `number` is gone.
    pub(super) fn release(&mut self, number: u64) {
        if self.writer == Some(number) {
            self.writer = None;
            self.waiting = None;
        }
    }

    /// Whether writer `number` may type.
    pub(super) fn check(&self, number: u64) -> Result<(), TapLost> {
        match self.writer {
            _ if self.is_closed => Err(TapLost::Closed),
            Some(writer) if writer == number => Ok(()),
            _ => Err(TapLost::TakenOver),
        }
    }

    /// Adds bytes as far as there is room; how many.
    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        let room = ConsoleTap::TYPED.saturating_sub(self.bytes.len());
        let bytes = bytes.get(..room).unwrap_or(bytes);
        self.bytes.extend(bytes);
        bytes.len()
    }

    /// The writer is to be woken when there is room, or its time is over.
    pub(super) fn wait(&mut self, waker: &Waker) {
        self.waiting = Some(waker.clone());
    }

    pub(super) fn take_waiting(&mut self) -> Option<Waker> {
        self.waiting.take()
    }

    /// Nobody types any more; the writer, to be woken.
    pub(super) fn close(&mut self) -> Option<Waker> {
        self.is_closed = true;
        self.waiting.take()
    }
}
