//! The signal that takes a vCPU out of the guest.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;

use libc::{c_int, c_void, siginfo_t};
use parking_lot::Mutex;
use thiserror::Error;
use vmm_sys_util::signal::register_signal_handler;

/// The signal by which another thread takes a vCPU out of the guest: [kicks](vmmkit_hypervisor::Kick)
/// it. SIGURG unless the embedder chooses another, as its default action is to be ignored and few
/// programs have a use for it.
///
/// It is an ordinary signal and not a real-time one: those are queued, count against the user's
/// RLIMIT_SIGPENDING, and cannot be sent any more once that is used up, whoever of the user's
/// processes used it. An ordinary signal is always delivered, and being merged with an earlier one
/// that is pending does a kick no harm.
///
/// [Opening KVM](crate::KvmOptions::open) installs a handler for it in the whole process, which does
/// nothing and stays; the signal is unblocked on the threads that run vCPUs. No other part of the
/// process may install a handler for it, ignore it or wait for it (signalfd(2), sigwait(3)).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KickSignal(c_int);

/// Why a signal cannot take vCPUs out of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KickSignalError {
    /// There is none of this number, or it cannot be caught, or it tells of a fault of the thread
    /// itself.
    #[error("signal {0} cannot be sent from one thread to another and caught")]
    Unusable(i32),
    /// A real-time signal, which is lost where RLIMIT_SIGPENDING is used up.
    #[error("signal {0} is a real-time signal, and those can be lost")]
    RealTime(i32),
}

/// The first signal that is queued, as the kernel counts them (signal(7)).
const FIRST_REAL_TIME: c_int = 32;
const LAST: c_int = 64;

/// Those that cannot be caught, and those of faults.
const UNUSABLE: [c_int; 8] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
];

impl KickSignal {
    /// The signal `number`, for instance `libc::SIGUSR1`.
    ///
    /// # Errors
    /// [`KickSignalError`] says why it cannot be used.
    pub fn new(number: i32) -> Result<Self, KickSignalError> {
        if !(1..=LAST).contains(&number) || UNUSABLE.contains(&number) {
            return Err(KickSignalError::Unusable(number));
        }
        if number >= FIRST_REAL_TIME {
            return Err(KickSignalError::RealTime(number));
        }
        Ok(Self(number))
    }

    /// Its number.
    pub fn number(self) -> i32 {
        self.0
    }

    /// Installs the handler, unless it is there already; an error of the kind
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy) where the process has another one.
    pub(crate) fn install(self) -> io::Result<()> {
        /// The signals that have the handler, a bit each.
        static INSTALLED: Mutex<u64> = Mutex::new(0);
        let mut installed = INSTALLED.lock();
        let bit = 1_u64 << self.0;
        if *installed & bit != 0 {
            return Ok(());
        }
        if has_handler(self.0)? {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        register_signal_handler(self.0, ignore)
            .map_err(|error| io::Error::from_raw_os_error(error.errno()))?;
        *installed |= bit;
        Ok(())
    }
}

impl Default for KickSignal {
    fn default() -> Self {
        Self(libc::SIGURG)
    }
}

impl fmt::Debug for KickSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KickSignal").field(&self.0).finish()
    }
}

/// Whether the process has a function of its own for `signal`.
fn has_handler(signal: c_int) -> io::Result<bool> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: no new action is given, and the kernel writes the current one to `action`, which is
    // of the type that it writes.
    if unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeroes are a valid `sigaction`, and so is what the kernel wrote over them.
    let action = unsafe { action.assume_init() };
    Ok(action.sa_sigaction != libc::SIG_DFL && action.sa_sigaction != libc::SIG_IGN)
}

extern "C" fn ignore(_signal: c_int, _info: *mut siginfo_t, _context: *mut c_void) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ordinary_signals_that_can_be_caught_are_taken() {
        for number in [0, -1, 65, libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV] {
            assert_eq!(
                KickSignal::new(number),
                Err(KickSignalError::Unusable(number))
            );
        }
        for number in [32, 34, 64] {
            assert_eq!(
                KickSignal::new(number),
                Err(KickSignalError::RealTime(number))
            );
        }
        assert_eq!(KickSignal::new(libc::SIGURG), Ok(KickSignal::default()));
    }

    #[test]
    fn a_handler_of_the_embedder_is_not_replaced() {
        extern "C" fn theirs(_: c_int, _: *mut siginfo_t, _: *mut c_void) {}
        register_signal_handler(libc::SIGWINCH, theirs).unwrap();
        let signal = KickSignal::new(libc::SIGWINCH).unwrap();
        let refused = signal.install().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
        let free = KickSignal::new(libc::SIGXCPU).unwrap();
        free.install().unwrap();
        free.install().unwrap();
        assert!(has_handler(libc::SIGXCPU).unwrap());
    }
}
