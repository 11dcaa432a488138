//! The signals that end a process at once: its terminal is restored first.

use std::mem;
use std::ptr;
use std::sync::OnceLock;

use crate::restore_all;

/// Faults and bugs, which may have a handler of the runtime's or the owner's: it has its turn after ours.
const FAULTS: [i32; 8] = [
    libc::SIGABRT,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGQUIT,
];

/// All others whose default action ends a process (signal(7)), but for SIGKILL and the real-time signals.
const ENDS: [i32; 14] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGXCPU,
    libc::SIGXFSZ,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGSTKFLT,
];

/// The action of each fault before. Written once, before the handler that reads it is there.
static BEFORE: [OnceLock<libc::sigaction>; FAULTS.len()] =
    [const { OnceLock::new() }; FAULTS.len()];

/// Has every raw terminal restored before a signal ends this process: all signals whose default action
/// does (signal(7)), but for SIGKILL and the two that the C library keeps for itself. The process then ends
/// by the signal. One that is ignored stays ignored, and one that has a handler keeps it; those of faults
/// (SIGSEGV and its like) have their turn once the terminal is restored. A second call does nothing new.
pub fn restore_on_fatal_signals() {
    for (number, before) in FAULTS.into_iter().zip(&BEFORE) {
        let now = action(number, None);
        if now.sa_sigaction == libc::SIG_IGN {
            continue;
        }
        before.get_or_init(|| now);
        catch(number);
    }
    let real_time = libc::SIGRTMIN()..=libc::SIGRTMAX();
    for number in ENDS.into_iter().chain(real_time) {
        if action(number, None).sa_sigaction == libc::SIG_DFL {
            catch(number);
        }
    }
}

fn catch(number: i32) {
    // SAFETY: an all-zero sigaction is valid: an empty mask and no flags.
    let mut handler: libc::sigaction = unsafe { mem::zeroed() };
    let repeat: extern "C" fn(i32, *const libc::siginfo_t, *const libc::c_void) =
        restore_and_repeat;
    handler.sa_sigaction = repeat as usize;
    // A stack overflow leaves only the alternative stack that Rust's runtime gives a thread.
    handler.sa_flags = libc::SA_ONSTACK | libc::SA_SIGINFO;
    action(number, Some(&handler));
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
    let index = FAULTS.iter().position(|&fault| fault == number);
    // OnceLock::get is one atomic load.
    let before = index
        .and_then(|index| BEFORE.get(index))
        .and_then(OnceLock::get)
        .filter(|_| !was_sent);
    match before {
        Some(before) => action(number, Some(before)),
        // SAFETY: an all-zero sigaction is valid: SIG_DFL, an empty mask and no flags.
        None => action(number, Some(&unsafe { mem::zeroed() })),
    };
    // SAFETY: raise is async-signal-safe and takes no pointer.
    unsafe { libc::raise(number) };
}

/// Sets the action of a signal, if there is a new one, and returns the one before.
pub(crate) fn action(number: i32, new: Option<&libc::sigaction>) -> libc::sigaction {
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: an all-zero sigaction is valid, and is overwritten by the call.
    let mut before: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: `new` is null or an initialised sigaction whose handler, where it is ours, makes
    // async-signal-safe calls only; `before` is valid for writes.
    unsafe { libc::sigaction(number, new, &mut before) };
    before
}
