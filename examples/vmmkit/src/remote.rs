//! What the parts of the binary that live on the machine's event loop share with `run`.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use vmmkit_host_io::{RawTerminal, Signal, window_size};
use vmmkit_virtio_devices::Console;
use vmmkit_vmm::Handle;

/// The running machine as keys and signals reach it. Threads: `run` fills it in before the
/// machine starts; afterwards the event loop's thread uses it, and `run` again when that thread
/// is gone. Its locks are never held over a call into the machine.
#[derive(Debug, Default)]
pub(crate) struct Remote {
    handle: OnceLock<Handle>,
    /// A console's input is the terminal.
    hears_keys: AtomicBool,
    terminal: Mutex<Option<RawTerminal>>,
    /// The console that is on the terminal, if it can have a size.
    console: OnceLock<Arc<Console>>,
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

    /// The terminal shows `console`, which has its size from now on.
    pub(crate) fn show_on(&self, console: Arc<Console>) {
        // Once only: there is one stdio.
        let _ = self.console.set(console);
        self.resize();
    }

    /// The terminal may have another size.
    pub(crate) fn resize(&self) {
        let size = window_size(std::io::stdin().as_fd());
        if let (Some(console), Some(size)) = (self.console.get(), size) {
            console.resize(size.columns, size.rows);
        }
    }

    /// A console of the guest has the terminal's keys.
    pub(crate) fn hear_keys(&self) {
        self.hears_keys.store(true, Ordering::Relaxed);
    }

    /// Whether a console of the guest has the terminal's keys.
    pub(crate) fn hears_keys(&self) -> bool {
        self.hears_keys.load(Ordering::Relaxed)
    }

    /// Makes the terminal on `fd` raw, or raw again, if it is one and is ours. One whose keys go to
    /// no console stays as it is: there Ctrl-C ends the machine.
    pub(crate) fn take_terminal(&self, fd: BorrowedFd<'_>) {
        if !self.hears_keys() {
            return;
        }
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

#[cfg(test)]
mod tests {
    use vmmkit_host_io::open_pty;

    use super::*;

    #[test]
    fn a_terminal_is_raw_where_a_console_has_its_keys() {
        let pty = open_pty().unwrap();
        let stty = || {
            let mut stty = std::process::Command::new("stty");
            let tty = pty.slave.try_clone().unwrap();
            let output = stty.arg("-a").stdin(tty).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let before = stty();
        let remote = Remote::default();
        remote.take_terminal(pty.slave.as_fd());
        assert_eq!(stty(), before);
        remote.hear_keys();
        remote.take_terminal(pty.slave.as_fd());
        assert!(stty().contains("-icanon"));
        remote.give_terminal_back();
        assert_eq!(stty(), before);
    }
}
