//! Signals as events, and as the way a process dies.

use crate::fatal::action;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A signal that a VMM treats as an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// SIGHUP: the terminal is gone.
    Hangup,
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGQUIT: Ctrl-\.
    Quit,
    /// SIGTERM: the polite kill.
    Terminate,
    /// SIGTSTP: Ctrl-Z.
    TerminalStop,
    /// SIGCONT: fg and bg.
    Continue,
    /// SIGWINCH: the window has another size.
    WindowChange,
}

impl Signal {
    const ALL: [Self; 7] = [
        Self::Hangup,
        Self::Interrupt,
        Self::Quit,
        Self::Terminate,
        Self::TerminalStop,
        Self::Continue,
        Self::WindowChange,
    ];

    /// Whether its default action ends or stops a process, so that ignoring it changes something.
    const fn is_demand(self) -> bool {
        !matches!(self, Self::Continue | Self::WindowChange)
    }

    /// Its number on Linux (signal(7)).
    pub const fn number(self) -> i32 {
        match self {
            Self::Hangup => libc::SIGHUP,
            Self::Interrupt => libc::SIGINT,
            Self::Quit => libc::SIGQUIT,
            Self::Terminate => libc::SIGTERM,
            Self::TerminalStop => libc::SIGTSTP,
            Self::Continue => libc::SIGCONT,
            Self::WindowChange => libc::SIGWINCH,
        }
    }

    /// Its name: `SIGTERM`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hangup => "SIGHUP",
            Self::Interrupt => "SIGINT",
            Self::Quit => "SIGQUIT",
            Self::Terminate => "SIGTERM",
            Self::TerminalStop => "SIGTSTP",
            Self::Continue => "SIGCONT",
            Self::WindowChange => "SIGWINCH",
        }
    }
}

/// Signals as a descriptor: readable while one is pending (signalfd(2)), non-blocking and closed
/// on exec.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Blocks `signals` in this thread, and in every thread it starts from now on, and makes the
    /// descriptor that tells of them. To be called before other threads are started.
    ///
    /// A signal that is ignored now, and would end or stop the process otherwise, stays ignored: nohup(1)
    /// starts a process so, and a shell without job control what it runs in the background. Linux ignores
    /// no signal that is blocked, so these are left out.
    ///
    /// # Errors
    /// The host's, when it has no descriptor or memory left.
    pub fn block(signals: &[Signal]) -> io::Result<Self> {
        let heard = signals
            .iter()
            .filter(|signal| !(signal.is_demand() && is_ignored(signal.number())));
        let set = set_of(heard.map(|signal| signal.number()));
        change_mask(libc::SIG_BLOCK, &set);
        // SAFETY: -1 asks for a new descriptor, and `set` is an initialised signal set.
        let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: signalfd has just given this descriptor to us alone.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Takes the next pending signal; `None` when there is none.
    pub fn read(&self) -> Option<Signal> {
        // signalfd(2): a record of 128 bytes that begins with the signal's number.
        let mut record = [0; mem::size_of::<libc::signalfd_siginfo>()];
        let length = rustix::io::read(&self.0, &mut record).ok()?;
        let number = record.get(..length)?.first_chunk::<4>()?;
        let number = i32::try_from(u32::from_ne_bytes(*number)).ok()?;
        Signal::ALL
            .into_iter()
            .find(|signal| signal.number() == number)
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for SignalFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Ends the process by `signal`, as if nothing had ever caught it: its parent sees the signal, and
/// a shell the exit code 128 + n. A signal that does not end a process by default (SIGCONT,
/// SIGWINCH) ends it with that exit code.
pub fn die_by(signal: Signal) -> ! {
    let number = signal.number();
    // SAFETY: an all-zero sigaction is valid: no flags, an empty mask; SIG_DFL is 0 too.
    action(number, Some(&unsafe { mem::zeroed() }));
    // Unblocked first: while it is pending, a signalfd of another thread could take it away.
    change_mask(libc::SIG_UNBLOCK, &set_of([number]));
    send_to_self(number);
    std::process::exit(128 + number)
}

/// Makes the signals of this process what a VMM can live with, whatever its parent left; to be called
/// before other threads are started. A write over the limit of a file's size (RLIMIT_FSIZE) fails with
/// EFBIG, as on a full disk, instead of ending the process by SIGXFSZ; and no signal is blocked, so that each
/// does what it says. What is ignored stays ignored.
pub fn start_with_clean_signals() {
    // SAFETY: an all-zero sigaction is valid: no flags, an empty mask.
    let mut ignore: libc::sigaction = unsafe { mem::zeroed() };
    ignore.sa_sigaction = libc::SIG_IGN;
    action(libc::SIGXFSZ, Some(&ignore));
    change_mask(libc::SIG_SETMASK, &empty_set());
}

fn is_ignored(number: i32) -> bool {
    action(number, None).sa_sigaction == libc::SIG_IGN
}

/// Does what SIGTSTP does to a program that knows nothing of it: stops this process, all of its threads,
/// and returns when it was continued. Where no shell could continue it (an orphaned process group,
/// setpgid(2)), the host does not stop it, and this returns at once.
///
/// The signal is blocked in every thread, as [`SignalFd::block`] leaves it.
pub fn stop_as_asked() {
    let stop = set_of([libc::SIGTSTP]);
    let before = change_mask(libc::SIG_UNBLOCK, &stop);
    // SAFETY: raise takes no pointer. The signal goes to this thread, which alone does not block it,
    // and is delivered before the call returns.
    unsafe { libc::raise(libc::SIGTSTP) };
    change_mask(libc::SIG_SETMASK, &before);
}

/// Sends `signal` to this process's group, as a terminal does for a key: to all programs of a
/// pipeline, for one.
pub fn signal_job(signal: Signal) {
    if let Some(signal) = rustix::process::Signal::from_named_raw(signal.number()) {
        // A process may always signal its own group: it is in it.
        let _ = rustix::process::kill_current_process_group(signal);
    }
}

/// Blocks SIGTTIN and SIGTTOU in this thread and in every thread it starts from now on: in the
/// background, output to the terminal is written whatever `stty tostop` says, and input fails (EIO)
/// instead of stopping the process.
pub fn block_terminal_access_signals() {
    change_mask(libc::SIG_BLOCK, &set_of([libc::SIGTTIN, libc::SIGTTOU]));
}

fn send_to_self(number: i32) {
    if let Some(signal) = rustix::process::Signal::from_named_raw(number) {
        // A process may always signal itself.
        let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
    }
}

/// Calls `action` with one signal blocked in this thread. Async-signal-safe if `action` is.
pub(crate) fn with_signal_blocked<T>(number: i32, action: impl FnOnce() -> T) -> T {
    let before = change_mask(libc::SIG_BLOCK, &set_of([number]));
    let result = action();
    change_mask(libc::SIG_SETMASK, &before);
    result
}

/// Changes the calling thread's mask and returns the one before.
fn change_mask(how: i32, set: &libc::sigset_t) -> libc::sigset_t {
    let mut before = empty_set();
    // SAFETY: both sets are initialised; `how` is one of the three values of pthread_sigmask(3),
    // which has no other way to fail.
    unsafe { libc::pthread_sigmask(how, set, &mut before) };
    before
}

fn set_of(numbers: impl IntoIterator<Item = i32>) -> libc::sigset_t {
    let mut set = empty_set();
    for number in numbers {
        // SAFETY: `set` is an initialised set.
        unsafe { libc::sigaddset(&mut set, number) };
    }
    set
}

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset writes a whole set to the address, which is valid for it.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: sigemptyset has initialised it; it fails for no valid address.
    unsafe { set.assume_init() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_stays_ignored() {
        // The whole process's, and no other test's: SIGQUIT.
        let number = Signal::Quit.number();
        // SAFETY: an all-zero sigaction is valid: no flags, an empty mask.
        let mut ignore: libc::sigaction = unsafe { mem::zeroed() };
        ignore.sa_sigaction = libc::SIG_IGN;
        let before = action(number, Some(&ignore));
        std::thread::spawn(move || {
            let signals = SignalFd::block(&[Signal::Quit, Signal::Hangup]).unwrap();
            // SAFETY: raise takes no pointer; one signal is ignored, the other blocked in this thread.
            unsafe { libc::raise(number) };
            assert_eq!(signals.read(), None);
            // SAFETY: as above.
            unsafe { libc::raise(Signal::Hangup.number()) };
            assert_eq!(signals.read(), Some(Signal::Hangup));
        })
        .join()
        .unwrap();
        action(number, Some(&before));
    }

    #[test]
    fn a_blocked_signal_is_read_as_an_event() {
        // Of its own thread: the mask of the test's threads is left alone.
        std::thread::spawn(|| {
            let signals = SignalFd::block(&[Signal::WindowChange]).unwrap();
            assert_eq!(signals.read(), None);
            // SAFETY: raise takes no pointer; the signal is blocked in this thread.
            unsafe { libc::raise(libc::SIGWINCH) };
            assert_eq!(signals.read(), Some(Signal::WindowChange));
            assert_eq!(signals.read(), None);
        })
        .join()
        .unwrap();
    }
}
