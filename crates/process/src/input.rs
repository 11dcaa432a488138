//! Input typed for the guest, until the guest takes it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use vmmkit_host_io::{EventFd, InputRead, InputSource};

/// The bytes at which the queue counts as full; a paste of so many is kept for any guest.
pub(crate) const LIMIT: usize = 64 << 10;

/// A console's input from the terminal that the machine is run from: what is typed, without the keys
/// that are for the VMM. A [`Keyboard`](crate::Keyboard) fills it.
#[derive(Debug)]
pub struct TerminalInput(Arc<Queue>);

/// Bytes on their way from the keyboard's thread to that of the console.
#[derive(Debug)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    /// Readable while there is something to read, the end included.
    filled: EventFd,
    /// Raised when the guest has taken something.
    room: EventFd,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: VecDeque<u8>,
    was_taken_from: bool,
    has_ended: bool,
}

impl TerminalInput {
    pub(crate) fn new(queue: Arc<Queue>) -> Self {
        Self(queue)
    }
}

impl AsFd for TerminalInput {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.filled.as_fd()
    }
}

impl InputSource for TerminalInput {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<InputRead> {
        Ok(self.0.pop(bytes))
    }
}

impl Queue {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            inner: Mutex::default(),
            filled: EventFd::new()?,
            room: EventFd::new()?,
        })
    }

    /// Raised when the guest has taken something.
    pub(crate) fn room(&self) -> &EventFd {
        &self.room
    }

    /// Whether the guest has taken something since the last call.
    pub(crate) fn was_taken_from(&self) -> bool {
        self.room.drain();
        std::mem::take(&mut self.lock().was_taken_from)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.lock().bytes.len() >= LIMIT
    }

    /// Adds `bytes`, whole or not at all; false where they are dropped since it is full.
    pub(crate) fn push(&self, bytes: &[u8]) -> bool {
        let mut inner = self.lock();
        if bytes.is_empty() {
            return true;
        }
        if inner.bytes.len() >= LIMIT {
            return false;
        }
        inner.bytes.extend(bytes);
        self.filled.notify();
        true
    }

    /// Drops what the guest has not taken.
    pub(crate) fn clear(&self) {
        self.lock().bytes.clear();
    }

    /// Nothing will be added any more.
    pub(crate) fn end(&self) {
        self.lock().has_ended = true;
        self.filled.notify();
    }

    fn pop(&self, bytes: &mut [u8]) -> InputRead {
        let mut inner = self.lock();
        let count = bytes.len().min(inner.bytes.len());
        for (place, byte) in bytes.iter_mut().zip(inner.bytes.drain(..count)) {
            *place = byte;
        }
        if count > 0 {
            inner.was_taken_from = true;
            self.room.notify();
        }
        match (count, inner.has_ended) {
            (0, true) => return InputRead::End,
            (_, false) if inner.bytes.is_empty() => drop(self.filled.drain()),
            _ => {}
        }
        match count {
            0 => InputRead::NotReady,
            count => InputRead::Bytes(count),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}
