//! A kernel's last words: whether the last that a guest wrote to its consoles tells of a panic.

use std::mem;

use parking_lot::{Mutex, MutexGuard};

/// How Linux begins its word of a panic (kernel/panic.c, `panic`).
const PANIC: &str = "Kernel panic - not syncing: ";
/// How it ends it, where no `panic=` has it reboot.
const OVER: &str = "---[ end Kernel panic - not syncing: ";
/// Messages of a kernel that has not panicked, or that has been started since: an orderly end
/// (kernel/reboot.c), one by SysRq, a boot.
const ALIVE: [&str; 3] = ["reboot: ", "sysrq: ", "Linux version "];
/// Of these, the words before a reset (kernel/reboot.c; arch/x86/kernel/reboot.c).
const RESTARTS: [&str; 2] = ["reboot: Restarting system", "reboot: machine restart"];
/// The bytes of a line that are looked at.
const LINE: usize = 320;
/// The bytes of a reason that are kept.
const REASON: usize = 200;
/// So many lines of the programs' may still come out among those of a panic.
const STRAY: u32 = 4;
/// So many lines a panic without time stamps may take: registers, a stack, all CPUs.
const TRACE: u32 = 400;

/// A panic, as a guest's console tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsolePanic {
    /// Why, as printable ASCII.
    pub reason: String,
    /// The kernel has said that it does nothing any more, and nothing came after that.
    pub is_over: bool,
}

/// Listens to consoles. A panic is told by a line that begins, after printk's time stamp, with
/// `Kernel panic - not syncing:`, and only as long as nothing but such a kernel's words follows it: a program that
/// prints that text, and goes on, is none.
#[derive(Debug, Default)]
pub(crate) struct LastWords(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    /// The line that is being written, on each of two kinds of console.
    serial: Vec<u8>,
    other: Vec<u8>,
    said: Said,
}

/// The verdict on the lines so far.
#[derive(Clone, Debug, Default)]
struct Said {
    panic: Option<Panic>,
    restarts: bool,
}

#[derive(Clone, Debug)]
struct Panic {
    told: ConsolePanic,
    has_stamp: bool,
    /// Lines since that may be the kernel's or a program's.
    doubtful: u32,
}

impl LastWords {
    /// The serial console writes `byte`.
    pub(crate) fn hear_serial(&self, byte: u8) {
        let heard = &mut *self.lock();
        hear(&mut heard.serial, &mut heard.said, byte);
    }

    /// Another console writes `bytes`.
    pub(crate) fn hear_other(&self, bytes: &[u8]) {
        let heard = &mut *self.lock();
        for byte in bytes {
            hear(&mut heard.other, &mut heard.said, *byte);
        }
    }

    /// The panic that the last words tell of.
    pub(crate) fn panic(&self) -> Option<ConsolePanic> {
        self.said().panic.map(|panic| panic.told)
    }

    /// Whether they say that the kernel resets the machine now.
    pub(crate) fn restarts(&self) -> bool {
        self.said().restarts
    }

    /// The verdict so far, the lines that are not whole yet included.
    fn said(&self) -> Said {
        let heard = self.lock();
        let mut said = heard.said.clone();
        for line in [&heard.serial, &heard.other] {
            judge(&String::from_utf8_lossy(line), &mut said);
        }
        said
    }

    /// The guest starts anew.
    pub(crate) fn forget(&self) {
        *self.lock() = Heard::default();
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.lock()
    }
}

fn hear(line: &mut Vec<u8>, said: &mut Said, byte: u8) {
    match byte {
        b'\n' => {
            judge(&String::from_utf8_lossy(line), said);
            line.clear();
        }
        b'\r' => {}
        _ if line.len() < LINE => line.push(byte),
        _ => {}
    }
}

/// Judges `line`.
fn judge(line: &str, said: &mut Said) {
    if line.trim().is_empty() {
        return;
    }
    let (has_stamp, words) = split_stamp(line);
    if ALIVE.iter().any(|word| words.starts_with(word)) {
        said.restarts = RESTARTS.iter().any(|word| words.starts_with(word));
        said.panic = None;
        return;
    }
    if let Some(reason) = words.strip_prefix(PANIC) {
        said.panic = Some(Panic::new(reason, has_stamp));
        return;
    }
    let Some(told) = &mut said.panic else { return };
    if words.starts_with(OVER) {
        told.told.is_over = true;
        return;
    }
    let goes_on = if told.has_stamp {
        !has_stamp && (told.told.is_over || told.grows() > STRAY)
    } else {
        told.told.is_over || told.grows() > TRACE
    };
    if goes_on {
        said.panic = None;
    }
}

impl Panic {
    fn new(reason: &str, has_stamp: bool) -> Self {
        let printable = |letter: char| match letter {
            ' '..='~' => letter,
            _ => '?',
        };
        Self {
            told: ConsolePanic {
                reason: reason.trim().chars().take(REASON).map(printable).collect(),
                is_over: false,
            },
            has_stamp,
            doubtful: 0,
        }
    }

    /// One more doubtful line; how many there are.
    fn grows(&mut self) -> u32 {
        let next = self.doubtful.saturating_add(1);
        mem::replace(&mut self.doubtful, next) + 1
    }
}

/// Whether printk's stamps are before the words of `line`, `[    1.234567] ` or `[    1.234567][    T1] `, and the
/// words. A program may have left the beginning of a line there.
fn split_stamp(line: &str) -> (bool, &str) {
    let starts = line.match_indices('[').map(|(start, _)| start);
    for start in starts {
        let mut rest = line.get(start..).unwrap_or_default();
        let mut has_time = false;
        while let Some((stamp, after)) =
            rest.strip_prefix('[').and_then(|rest| rest.split_once(']'))
        {
            let is_stamp = !stamp.is_empty()
                && stamp
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || b" .TC".contains(&byte));
            if !is_stamp {
                break;
            }
            has_time |= stamp.contains('.');
            rest = after;
        }
        if let Some(words) = rest.strip_prefix(' ').filter(|_| has_time) {
            return (true, words);
        }
    }
    (false, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panic_of(text: &str) -> Option<ConsolePanic> {
        let words = LastWords::default();
        text.bytes().for_each(|byte| words.hear_serial(byte));
        let other = LastWords::default();
        for part in text.as_bytes().chunks(7) {
            other.hear_other(part);
        }
        assert_eq!(words.panic(), other.panic());
        words.panic()
    }

    fn told(reason: &str, is_over: bool) -> Option<ConsolePanic> {
        let reason = reason.to_owned();
        Some(ConsolePanic { reason, is_over })
    }

    #[test]
    fn a_panic_is_told_with_and_without_time_stamps() {
        let root = "VFS: Unable to mount root fs on unknown-block(0,0)";
        for stamp in [
            "",
            "[    1.234567] ",
            "[    1.234567][    T1] ",
            "login: [12345.0] ",
        ] {
            let panic = format!("{stamp}{PANIC}{root}\r\n");
            assert_eq!(panic_of(&panic), told(root, false), "{stamp:?}");
            let trace =
                format!("{panic}{stamp}CPU: 0 PID: 1 Comm: swapper\r\n{stamp}Call Trace:\r\n");
            assert_eq!(panic_of(&trace), told(root, false), "{stamp:?}");
            let reboots = format!("{trace}{stamp}Rebooting in 1 seconds..");
            assert_eq!(panic_of(&reboots), told(root, false), "{stamp:?}");
            let over = format!("{trace}{stamp}---[ end {PANIC}{root} ]---\r\n");
            assert_eq!(panic_of(&over), told(root, true), "{stamp:?}");
        }
    }

    #[test]
    fn a_program_that_prints_one_and_goes_on_did_not_panic() {
        let old = "[    1.0] Kernel panic - not syncing: old\n[    1.1] ---[ end Kernel panic - not syncing: old ]---\n";
        assert!(panic_of(old).is_some());
        assert_eq!(panic_of(&format!("{old}/ # ")), None);
        assert_eq!(
            panic_of(&format!("{old}[    2.0] reboot: Restarting system\n")),
            None
        );
        assert_eq!(panic_of(&format!("{old}reboot: Power down\n")), None);
        assert_eq!(
            panic_of(&format!("{old}[    0.0] Linux version 6.1\n")),
            None
        );
        let line = "[    1.0] Kernel panic - not syncing: old\n";
        assert_eq!(panic_of(&format!("{line}{}", "text\n".repeat(5))), None);
        assert_eq!(panic_of("grep: Kernel panic - not syncing: x\n"), None);
        assert_eq!(panic_of("echo 'Kernel panic - not syncing: x'\n"), None);
    }

    #[test]
    fn a_stray_line_of_a_program_does_not_hide_a_panic() {
        let text = "[    1.0] Kernel panic - not syncing: Oops\nhello\n[    1.1] CPU: 1\n";
        assert_eq!(panic_of(text), told("Oops", false));
    }

    #[test]
    fn a_reason_is_short_and_printable() {
        let text = format!("{PANIC}\x1b[2J{}\n", "x".repeat(100_000));
        let reason = panic_of(&text).unwrap().reason;
        assert!(
            reason.starts_with("?[2Jx") && reason.len() <= REASON,
            "{reason}"
        );
    }

    #[test]
    fn a_kernel_says_that_it_restarts() {
        let words = LastWords::default();
        words.hear_other(b"[    9.0] reboot: Restarting system\r\n");
        assert!(words.restarts());
        words.hear_other(b"[    9.1] reboot: machine restart\r\n");
        assert!(words.restarts());
        words.hear_other(b"[    9.1] reboot: Power down\r\n");
        assert!(!words.restarts());
    }

    #[test]
    fn a_new_start_forgets() {
        let words = LastWords::default();
        words.hear_other(b"Kernel panic - not syncing: x\n");
        words.forget();
        assert_eq!(words.panic(), None);
    }
}
