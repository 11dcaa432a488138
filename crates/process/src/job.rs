//! The process as a job of its shell: in the foreground it has the terminal, in the background it
//! leaves it alone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use vmmkit_host_io::{EventFd, RawTerminal, Signal, TimerFd, is_foreground};

/// How often a job in the background looks whether it is in the foreground: a shell's `fg` of a job
/// that runs sends no signal (bash).
const LOOK: Duration = Duration::from_millis(250);

/// State shared by signals, the terminal and its keys.
///
/// Threads: whoever starts the machine, the event loop's, and those that read the terminal. Its locks
/// are never held over a call into the machine.
#[derive(Debug)]
pub struct Job {
    /// A console's input is the terminal.
    // Ordering: a flag alone.
    hears_keys: AtomicBool,
    terminal: Mutex<Option<RawTerminal>>,
    /// Fires when it is time to look for the foreground.
    pub(crate) look: TimerFd,
    /// Raised when the terminal was taken (back).
    taken: EventFd,
    ended_by: Mutex<Option<Signal>>,
}

impl Job {
    /// A job whose terminal, if any, stays as it is.
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            hears_keys: AtomicBool::new(false),
            terminal: Mutex::default(),
            look: TimerFd::new()?,
            taken: EventFd::new()?,
            ended_by: Mutex::default(),
        })
    }

    /// A console of the guest has the terminal's keys.
    pub fn hear_keys(&self) {
        self.hears_keys.store(true, Ordering::Relaxed);
    }

    /// Whether a console of the guest has the terminal's keys.
    pub fn hears_keys(&self) -> bool {
        self.hears_keys.load(Ordering::Relaxed)
    }

    /// Makes the terminal `fd` raw, or raw again, if it is one and is ours; whether it is ours. One
    /// whose keys go to no console stays as it is: there Ctrl-C ends the machine. In the background
    /// the terminal is left alone, and taken once the job is in the foreground.
    pub fn take_terminal(&self, fd: BorrowedFd<'_>) -> bool {
        if !self.hears_keys() {
            return is_foreground(fd);
        }
        if !is_foreground(fd) {
            self.leave_terminal();
            return false;
        }
        let mut terminal = self.terminal();
        // A terminal that was hung up cannot be made raw, and has no keys.
        match terminal.as_mut() {
            Some(raw) => drop(raw.resume()),
            None => *terminal = RawTerminal::enter(fd).ok().flatten(),
        }
        drop(terminal);
        self.taken.notify();
        true
    }

    /// The job is in the background: it looks from time to time whether it still is.
    pub(crate) fn leave_terminal(&self) {
        self.look.arm_once(LOOK);
    }

    /// Raised when the job has the terminal (again).
    pub(crate) fn taken(&self) -> &EventFd {
        &self.taken
    }

    /// Restores the terminal for a while.
    pub fn lend_terminal(&self) {
        if let Some(raw) = self.terminal().as_ref() {
            raw.suspend();
        }
    }

    /// Restores the terminal for good.
    pub fn give_terminal_back(&self) {
        *self.terminal() = None;
    }

    /// Notes the signal that the process is to die by; the first one stands.
    pub fn end_by(&self, signal: Signal) {
        let mut ended_by = self.ended_by.lock();
        ended_by.get_or_insert(signal);
    }

    /// The signal that the process is to die by, for [`die_by`](vmmkit_host_io::die_by).
    pub fn ended_by(&self) -> Option<Signal> {
        *self.ended_by.lock()
    }

    fn terminal(&self) -> MutexGuard<'_, Option<RawTerminal>> {
        self.terminal.lock()
    }
}

/// The terminal that the process was started from.
pub(crate) fn with_stdin<T>(act: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
    act(io::stdin().as_fd())
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
        let job = Job::new().unwrap();
        job.take_terminal(pty.slave.as_fd());
        assert_eq!(stty(), before);
        job.hear_keys();
        assert!(job.take_terminal(pty.slave.as_fd()));
        assert!(stty().contains("-icanon"));
        job.lend_terminal();
        assert_eq!(stty(), before);
        assert!(job.take_terminal(pty.slave.as_fd()));
        job.give_terminal_back();
        assert_eq!(stty(), before);
    }

    #[test]
    fn the_first_signal_is_the_one_to_die_by() {
        let job = Job::new().unwrap();
        assert_eq!(job.ended_by(), None);
        job.end_by(Signal::Hangup);
        job.end_by(Signal::Terminate);
        assert_eq!(job.ended_by(), Some(Signal::Hangup));
    }
}
