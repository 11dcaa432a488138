//! What the parts of the binary that live on the machine's event loop share with `run`.

use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use vmmkit_host_io::{RawTerminal, Signal};
use vmmkit_vmm::Handle;

/// The running machine as keys and signals reach it. Threads: `run` fills it in before the
/// machine starts; afterwards the event loop's thread uses it, and `run` again when that thread
/// is gone. Its locks are never held over a call into the machine.
#[derive(Debug, Default)]
pub(crate) struct Remote {
    handle: OnceLock<Handle>,
    terminal: Mutex<Option<RawTerminal>>,
    ended_by: Mutex<Option<Signal>>,
}

impl Remote {
    /// Gives it the machine.
    pub(crate) fn connect(&self, handle: Handle) {
        // Once only, in `run`.
        let _ = self.handle.set(handle);
    }

    /// Does something to the machine.
    pub(crate) fn with(&self, act: impl FnOnce(&Handle)) {
        if let Some(handle) = self.handle.get() {
            act(handle);
        }
    }

    /// Makes the terminal on `fd` raw, if it is one and is ours, or raw again.
    pub(crate) fn take_terminal(&self, fd: BorrowedFd<'_>) {
        let mut terminal = lock(&self.terminal);
        // A terminal that was hung up cannot be made raw, and has no keys.
        match terminal.as_mut() {
            Some(raw) => drop(raw.resume()),
            None => *terminal = RawTerminal::enter(fd).ok().flatten(),
        }
    }

    /// Restores the terminal for a while.
    pub(crate) fn lend_terminal(&self) {
        if let Some(raw) = lock(&self.terminal).as_ref() {
            raw.suspend();
        }
    }

    /// Restores the terminal for good.
    pub(crate) fn give_terminal_back(&self) {
        *lock(&self.terminal) = None;
    }

    /// Notes the signal that the process is to die by; the first one stands.
    pub(crate) fn end_by(&self, signal: Signal) {
        lock(&self.ended_by).get_or_insert(signal);
    }

    /// The signal that the process is to die by.
    pub(crate) fn ended_by(&self) -> Option<Signal> {
        *lock(&self.ended_by)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it is held leaves a whole value.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
