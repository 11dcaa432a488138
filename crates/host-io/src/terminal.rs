//! The terminal: raw while a guest has it, as it was before on every way out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcgetpgrp,
    tcgetwinsize, tcsetattr,
};

use crate::pollable::wait_writable;
use crate::signals::with_signal_blocked;

/// A terminal in raw mode (cfmakeraw(3)): every key goes to the reader as bytes, nothing is
/// echoed, and output is not changed on its way. Dropping it restores the settings, and drops what was
/// typed and not read: that was meant for the guest, and whoever reads the terminal next may be a shell.
///
/// [`restore_all`] restores it from a panic hook or a signal handler.
#[derive(Debug)]
pub struct RawTerminal {
    tty: &'static OwnedFd,
    saved: &'static Saved,
}

/// The settings from before. Never freed: a signal handler may be reading it.
#[derive(Debug)]
struct Saved {
    tty: &'static OwnedFd,
    settings: Termios,
    /// Whether they are still to be restored. Whoever clears it does so.
    pending: AtomicBool,
    next: AtomicPtr<Saved>,
}

/// The newest of all saved settings; the others hang on it. Nodes are added and never removed.
static NEWEST: AtomicPtr<Saved> = AtomicPtr::new(ptr::null_mut());

impl RawTerminal {
    /// Makes the terminal `fd` raw. `None`, and nothing is changed, if it is not a terminal or
    /// belongs to another job now (see [`is_foreground`]).
    ///
    /// It keeps a duplicate of `fd` for the rest of the process.
    ///
    /// # Errors
    /// The host's, when the settings cannot be read or set.
    pub fn enter(fd: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        if !is_terminal(fd) || !is_foreground(fd) {
            return Ok(None);
        }
        let tty: &'static OwnedFd = Box::leak(Box::new(fd.try_clone_to_owned()?));
        let saved = make_raw(tty)?;
        Ok(Some(Self { tty, saved }))
    }

    /// Restores the settings for a while: before this process is stopped. What was typed and not read
    /// stays: it came after the keys that asked for the stop, and is meant for who goes on.
    pub fn suspend(&self) {
        self.saved.restore(Unread::Stays);
    }

    /// Makes the terminal raw again if it is this job's: after this process was continued. The
    /// settings found now are the ones that will be restored, unless it still is raw as
    /// [`enter`](Self::enter) or `resume` left it.
    ///
    /// # Errors
    /// The host's, when the settings cannot be read or set.
    pub fn resume(&mut self) -> io::Result<()> {
        if !is_foreground(self.tty.as_fd()) {
            return Ok(());
        }
        // Ordering: pairs with the swap in `restore`.
        if self.saved.pending.load(Ordering::Acquire) {
            // Stopped by SIGSTOP, which gave no chance to suspend: only the raw mode is due.
            return Ok(set(self.tty, &raw(&self.saved.settings))?);
        }
        self.saved = make_raw(self.tty)?;
        Ok(())
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        self.saved.restore(Unread::IsDropped);
    }
}

/// The fate of typed bytes that nobody has read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unread {
    Stays,
    IsDropped,
}

impl Saved {
    /// Restores the settings, once, unless another job has the terminal: its settings are that
    /// job's then. Calls nothing but tcgetpgrp, tcflush, tcsetattr and pthread_sigmask.
    fn restore(&self, unread: Unread) {
        // Ordering: pairs with the other callers of this line; one of them wins.
        if self.pending.swap(false, Ordering::AcqRel) && is_foreground(self.tty.as_fd()) {
            // Nothing can be done about a terminal that was hung up.
            if unread == Unread::IsDropped {
                let _ =
                    with_signal_blocked(libc::SIGTTOU, || tcflush(self.tty, QueueSelector::IFlush));
            }
            let _ = set(self.tty, &self.settings);
        }
    }
}

/// Restores every terminal that is raw. It may be called in a panic hook and in a signal handler:
/// it takes no lock, allocates nothing, and makes only calls that signal-safety(7) allows.
pub fn restore_all() {
    // Ordering: pairs with the exchange in `make_raw`, which publishes a whole node.
    let mut node = NEWEST.load(Ordering::Acquire);
    // SAFETY: `node` is null or points to what `Box::leak` gave in `make_raw`, initialised before
    // the exchange that published it; nodes are never freed, and shared by `&` only.
    while let Some(saved) = unsafe { node.as_ref() } {
        saved.restore(Unread::IsDropped);
        node = saved.next.load(Ordering::Acquire);
    }
}

/// Whether `fd` is a terminal.
pub fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    rustix::termios::isatty(fd)
}

/// Whether `fd` is a terminal in which keys are bytes, as a [`RawTerminal`] leaves none behind.
pub fn is_raw(fd: BorrowedFd<'_>) -> bool {
    let cooked = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
    tcgetattr(fd).is_ok_and(|settings| !settings.local_modes.intersects(cooked))
}

/// Whether this process may use the terminal `fd` now: its process group is the foreground one,
/// or `fd` is not its controlling terminal and there is no job control on it.
pub fn is_foreground(fd: BorrowedFd<'_>) -> bool {
    match tcgetpgrp(fd) {
        Ok(group) => group == rustix::process::getpgrp(),
        // No foreground group is there, or no terminal any more (EIO): nobody to disturb.
        Err(error) => matches!(error, Errno::NOTTY | Errno::OPNOTSUPP | Errno::IO),
    }
}

/// The size of a terminal's window in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// The size of the terminal `fd`; `None` if it is none or does not know.
pub fn window_size(fd: BorrowedFd<'_>) -> Option<WindowSize> {
    let size = tcgetwinsize(fd)
        .ok()
        .filter(|size| size.ws_row > 0 && size.ws_col > 0)?;
    Some(WindowSize {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// Rings the bell of the terminal `fd`, if it takes a byte at once.
pub fn ring_bell(fd: BorrowedFd<'_>) {
    if wait_writable(fd, Duration::ZERO) {
        // A terminal that cannot be written to has no bell.
        let _ = rustix::io::write(fd, b"\x07");
    }
}

/// Saves the settings of `tty` and makes it raw.
fn make_raw(tty: &'static OwnedFd) -> io::Result<&'static Saved> {
    let settings = tcgetattr(tty)?;
    let raw = raw(&settings);
    let saved: &'static Saved = Box::leak(Box::new(Saved {
        tty,
        settings,
        pending: AtomicBool::new(true),
        next: AtomicPtr::default(),
    }));
    publish(saved);
    if let Err(error) = set(tty, &raw) {
        saved.restore(Unread::Stays);
        return Err(error.into());
    }
    Ok(saved)
}

/// Puts `saved` on the list, before the terminal changes: no moment is without a way back.
fn publish(saved: &'static Saved) {
    let node = ptr::from_ref(saved).cast_mut();
    // Ordering: the node that is found is whole, as another exchange below has released it.
    let mut newest = NEWEST.load(Ordering::Acquire);
    loop {
        saved.next.store(newest, Ordering::Release);
        // Ordering: pairs with the load in `restore_all`.
        match NEWEST.compare_exchange(newest, node, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return,
            Err(other) => newest = other,
        }
    }
}

fn raw(settings: &Termios) -> Termios {
    let mut raw = settings.clone();
    raw.make_raw();
    raw
}

/// Sets the settings at once; keys typed ahead are kept. A process in the background would be
/// stopped for it by SIGTTOU; blocked, the call is carried out (tcsetattr(3p)).
fn set(tty: &OwnedFd, settings: &Termios) -> rustix::io::Result<()> {
    with_signal_blocked(libc::SIGTTOU, || {
        loop {
            match tcsetattr(tty, OptionalActions::Now, settings) {
                Err(Errno::INTR) => {}
                result => return result,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(fd: impl AsFd) -> String {
        format!("{:?}", tcgetattr(fd).unwrap())
    }

    #[test]
    fn a_terminal_is_raw_until_the_drop_and_then_as_before() {
        let pty = crate::open_pty().unwrap();
        let before = settings(&pty.slave);
        let raw = RawTerminal::enter(pty.slave.as_fd()).unwrap().unwrap();
        assert_ne!(settings(&pty.slave), before);
        assert!(is_raw(pty.slave.as_fd()));
        drop(raw);
        assert_eq!(settings(&pty.slave), before);
        assert!(!is_raw(pty.slave.as_fd()));
    }

    #[test]
    fn what_nobody_read_is_not_left_to_the_next_reader() {
        use std::io::Write;
        let pty = crate::open_pty().unwrap();
        let unread = || rustix::io::ioctl_fionread(&pty.slave).unwrap();
        let mut keyboard = std::fs::File::from(pty.master.try_clone().unwrap());
        let mut types = || {
            keyboard.write_all(b"reboot\n").unwrap();
            // It comes to the other end by a worker of the host's.
            assert!(crate::pollable::wait_readable(
                pty.slave.as_fd(),
                Duration::from_secs(10)
            ));
        };
        let mut raw = RawTerminal::enter(pty.slave.as_fd()).unwrap().unwrap();
        types();
        raw.suspend();
        raw.resume().unwrap();
        assert_eq!(unread(), 7);
        drop(raw);
        assert_eq!(unread(), 0);
    }

    #[test]
    fn restore_all_restores_without_the_owner() {
        let pty = crate::open_pty().unwrap();
        let before = settings(&pty.slave);
        let raw = RawTerminal::enter(pty.slave.as_fd()).unwrap().unwrap();
        // Another test's terminal may be restored too: each has its own.
        raw.saved.restore(Unread::IsDropped);
        assert_eq!(settings(&pty.slave), before);
        drop(raw);
        assert_eq!(settings(&pty.slave), before);
    }

    #[test]
    fn what_the_user_sets_while_it_is_suspended_is_kept() {
        let pty = crate::open_pty().unwrap();
        let mut raw = RawTerminal::enter(pty.slave.as_fd()).unwrap().unwrap();
        raw.suspend();
        let mut changed = tcgetattr(&pty.slave).unwrap();
        changed
            .local_modes
            .remove(rustix::termios::LocalModes::ECHO);
        tcsetattr(&pty.slave, OptionalActions::Now, &changed).unwrap();
        raw.resume().unwrap();
        drop(raw);
        assert_eq!(settings(&pty.slave), format!("{changed:?}"));
    }

    #[test]
    fn a_pipe_is_left_alone() {
        let (reader, _writer) = std::io::pipe().unwrap();
        assert!(RawTerminal::enter(reader.as_fd()).unwrap().is_none());
    }
}
