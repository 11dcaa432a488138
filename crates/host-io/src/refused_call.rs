//! The end of a process that makes a system call which its filter refuses.

use std::mem;
use std::sync::OnceLock;

use crate::fatal::action;
use crate::restore_all;

/// SYS_SECCOMP (sigaction(2)): a filter has sent the signal, not somebody.
const SYS_SECCOMP: i32 = 1;
/// Bytes of a thread's name, with its end (prctl(2), PR_GET_NAME).
const NAME_BYTES: usize = 16;
/// Room for the words, a call's name and a thread's.
const LINE_BYTES: usize = 512;

/// The words around a refused system call: `before` CALL `between` THREAD `after`.
#[derive(Clone, Copy, Debug)]
pub struct RefusedCallWords {
    /// Before the call's name or number.
    pub before: &'static str,
    /// Between it and the thread's name.
    pub between: &'static str,
    /// After that, with the end of the line.
    pub after: &'static str,
    /// The name of a system call. It is called in a signal's handler: it takes no lock and allocates nothing.
    pub name: fn(i32) -> Option<&'static str>,
}

#[derive(Debug)]
struct Chosen {
    words: RefusedCallWords,
    exit_code: i32,
}

/// Written once, before the handler that reads it is there.
static CHOSEN: OnceLock<Chosen> = OnceLock::new();

/// The part of siginfo_t that a filter fills in (sigaction(2), `si_syscall`): 12 bytes of numbers and 4 that align.
#[repr(C)]
struct FilterInfo {
    _numbers: [i32; 4],
    _address: *const libc::c_void,
    call: i32,
    _architecture: u32,
}

/// Has a system call that a filter answers with SIGSYS (seccomp(2), SECCOMP_RET_TRAP) end the process at once, with
/// `exit_code`: raw terminals are restored, and a line of `words` on stderr names the call and the thread. To be
/// called once the process has its other handlers: [`restore_on_fatal_signals`](crate::restore_on_fatal_signals)
/// takes SIGSYS too.
pub fn end_on_refused_call(words: RefusedCallWords, exit_code: u8) {
    let exit_code = exit_code.into();
    CHOSEN.get_or_init(|| Chosen { words, exit_code });
    // SAFETY: an all-zero sigaction is valid: an empty mask and no flags.
    let mut handler: libc::sigaction = unsafe { mem::zeroed() };
    let end: extern "C" fn(i32, *const libc::siginfo_t, *const libc::c_void) = end;
    handler.sa_sigaction = end as usize;
    handler.sa_flags = libc::SA_ONSTACK | libc::SA_SIGINFO;
    action(libc::SIGSYS, Some(&handler));
}

/// Makes async-signal-safe calls only: those of [`restore_all`], prctl, write and _exit.
extern "C" fn end(number: i32, about: *const libc::siginfo_t, _context: *const libc::c_void) {
    restore_all();
    // SAFETY: the kernel gives a handler with SA_SIGINFO a siginfo_t that lives until it returns.
    let code = unsafe { about.as_ref() }.map_or(0, |about| about.si_code);
    // SAFETY: siginfo_t has 128 bytes and the alignment of a pointer, and any bits make a FilterInfo.
    let info = unsafe { about.cast::<FilterInfo>().as_ref() };
    // OnceLock::get is one atomic load.
    if let (Some(chosen), Some(info), SYS_SECCOMP) = (CHOSEN.get(), info, code) {
        tell(&chosen.words, info.call);
        // SAFETY: _exit takes an integer, runs nothing of this process's and is async-signal-safe.
        unsafe { libc::_exit(chosen.exit_code) };
    }
    // Somebody has sent it: it ends the process as if nothing had ever caught it.
    // SAFETY: an all-zero sigaction is valid: SIG_DFL, an empty mask and no flags.
    action(number, Some(&unsafe { mem::zeroed() }));
    // SAFETY: raise is async-signal-safe and takes no pointer.
    unsafe { libc::raise(number) };
}

fn tell(words: &RefusedCallWords, call: i32) {
    let mut line = Line::default();
    line.add(words.before.as_bytes());
    match (words.name)(call) {
        Some(name) => line.add(name.as_bytes()),
        None => line.add_number(call),
    }
    line.add(words.between.as_bytes());
    let mut name = [0_u8; NAME_BYTES];
    // SAFETY: PR_GET_NAME writes at most 16 bytes to the address, which is valid for them.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    line.add(name.split(|byte| *byte == 0).next().unwrap_or_default());
    line.add(words.after.as_bytes());
    // Where stderr is closed or full there is nobody to tell.
    let _ = rustix::io::write(rustix::stdio::stderr(), line.text());
}

/// A text that needs no memory of the heap.
struct Line {
    bytes: [u8; LINE_BYTES],
    length: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            bytes: [0; LINE_BYTES],
            length: 0,
        }
    }
}

impl Line {
    /// Adds as much of `text` as there is room for.
    fn add(&mut self, text: &[u8]) {
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        for (place, byte) in room.iter_mut().zip(text) {
            *place = *byte;
            self.length += 1;
        }
    }

    fn add_number(&mut self, number: i32) {
        if number < 0 {
            self.add(b"-");
        }
        let mut rest = number.unsigned_abs();
        let mut digits = [b'0'; 10];
        let mut count = 0;
        for digit in digits.iter_mut().rev() {
            // A remainder of 10 fits.
            *digit += (rest % 10) as u8;
            rest /= 10;
            count += 1;
            if rest == 0 {
                break;
            }
        }
        self.add(digits.get(digits.len() - count..).unwrap_or_default());
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_texts_and_numbers_and_an_end() {
        let mut line = Line::default();
        for number in [0, 7, -41, i32::MAX, i32::MIN] {
            line.add_number(number);
            line.add(b" ");
        }
        assert_eq!(line.text(), b"0 7 -41 2147483647 -2147483648 ");
        for _ in 0..100 {
            line.add(b"0123456789");
        }
        assert_eq!(line.text().len(), LINE_BYTES);
    }

    #[test]
    fn a_filter_s_signal_has_the_layout_of_the_kernel() {
        // <asm-generic/siginfo.h>: _call_addr, _syscall and _arch follow three numbers and a gap.
        assert_eq!(mem::offset_of!(FilterInfo, call), 24);
        assert!(size_of::<FilterInfo>() <= size_of::<libc::siginfo_t>());
        assert!(align_of::<FilterInfo>() <= align_of::<libc::siginfo_t>());
    }
}
