//! The signals that kill a process at once: its terminal is restored first.

use std::mem;
use std::ptr;
use std::sync::OnceLock;

use crate::restore_all;

/// The signals that end a process with a core dump: bugs, abort(3), and Ctrl-\ from elsewhere.
const FATAL: [i32; 6] = [
    libc::SIGABRT,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGQUIT,
];

/// What each of them did before. Written once, before the handler that reads it is there.
static BEFORE: [OnceLock<libc::sigaction>; FATAL.len()] = [const { OnceLock::new() }; FATAL.len()];

/// Has every raw terminal restored before a fatal signal (SIGABRT, SIGSEGV, SIGBUS, SIGILL,
/// SIGFPE, SIGQUIT) does what it did before. A second call does nothing.
pub fn restore_on_fatal_signals() {
    for (number, before) in FATAL.into_iter().zip(&BEFORE) {
        before.get_or_init(|| action(number, None));
        // SAFETY: an all-zero sigaction is valid: an empty mask and no flags.
        let mut handler: libc::sigaction = unsafe { mem::zeroed() };
        let repeat: extern "C" fn(i32, *const libc::siginfo_t, *const libc::c_void) =
            restore_and_repeat;
        handler.sa_sigaction = repeat as usize;
        // A stack overflow leaves only the alternative stack that Rust's runtime gives a thread.
        handler.sa_flags = libc::SA_ONSTACK | libc::SA_SIGINFO;
        action(number, Some(&handler));
    }
}

/// Restores the terminals, puts the old action back and raises the signal again, to be delivered
/// when this handler returns. One that somebody has sent gets the default action: Rust's runtime
/// takes it for a fault, and returns to where there is none.
extern "C" fn restore_and_repeat(
    number: i32,
    about: *const libc::siginfo_t,
    _context: *const libc::c_void,
) {
    restore_all();
    // SAFETY: the kernel gives a handler with SA_SIGINFO a siginfo_t that lives until it returns.
    let was_sent = unsafe { about.as_ref() }.is_some_and(|about| about.si_code <= 0);
    if was_sent {
        // SAFETY: an all-zero sigaction is valid: SIG_DFL, an empty mask and no flags.
        action(number, Some(&unsafe { mem::zeroed() }));
        // SAFETY: raise is async-signal-safe and takes no pointer.
        unsafe { libc::raise(number) };
        return;
    }
    let index = FATAL.iter().position(|&fatal| fatal == number);
    // OnceLock::get is one atomic load.
    let before = index
        .and_then(|index| BEFORE.get(index))
        .and_then(OnceLock::get);
    if let Some(before) = before {
        action(number, Some(before));
    }
    // SAFETY: raise is async-signal-safe and takes no pointer.
    unsafe { libc::raise(number) };
}

/// Sets the action of a signal, if there is a new one, and returns the one before.
fn action(number: i32, new: Option<&libc::sigaction>) -> libc::sigaction {
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: an all-zero sigaction is valid, and is overwritten by the call.
    let mut before: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: `new` is null or an initialised sigaction whose handler, where it is ours, makes
    // async-signal-safe calls only; `before` is valid for writes.
    unsafe { libc::sigaction(number, new, &mut before) };
    before
}
