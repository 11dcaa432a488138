//! The milestones of a boot, with their times.

use std::mem;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::last_words::LastWords;
use crate::{ConsolePanic, Milestone, Milestones};

/// The most lines that are kept.
const LINES: usize = 4096;
/// The most bytes of a line that are kept.
const LINE: usize = 240;

/// A line of the guest's console.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsoleLine {
    /// When its first byte came.
    pub at: Duration,
    /// The text, up to 240 bytes; anything that is not text has been replaced.
    pub text: String,
}

/// When a machine got how far and, if asked for, what the guest said meanwhile. Any thread may call
/// anything.
#[derive(Debug, Default)]
pub struct BootLog {
    milestones: Milestones,
    lines: Option<Mutex<Lines>>,
    last_words: LastWords,
}

#[derive(Debug, Default)]
struct Lines {
    kept: Vec<ConsoleLine>,
    /// The line that is being written.
    bytes: Vec<u8>,
    began: Duration,
    lost: u64,
}

impl BootLog {
    /// A log whose time begins at `start`.
    pub fn since(start: Instant) -> Self {
        Self {
            milestones: Milestones::since(start),
            lines: None,
            last_words: LastWords::default(),
        }
    }

    /// The same, which also keeps the first 4,096 lines of the console.
    #[must_use]
    pub fn with_lines(self) -> Self {
        Self {
            lines: Some(Mutex::default()),
            ..self
        }
    }

    /// The milestones.
    pub fn milestones(&self) -> &Milestones {
        &self.milestones
    }

    /// A milestone is reached.
    pub fn mark(&self, milestone: Milestone) {
        self.milestones.mark(milestone);
    }

    /// The guest writes `bytes` to a console other than its first: they are not output of the log's, but may be
    /// its kernel's last words.
    pub fn hear(&self, bytes: &[u8]) {
        self.last_words.hear_other(bytes);
    }

    /// The panic of the guest's kernel that the last words on its consoles tell of. A guest can write what it
    /// likes: it is a sign where a reset or the end of the guest follows, and nothing more.
    pub fn panic(&self) -> Option<ConsolePanic> {
        self.last_words.panic()
    }

    /// Whether the last words say that the guest's kernel resets the machine now. A sign, as in
    /// [`panic`](Self::panic).
    pub fn restarts(&self) -> bool {
        self.last_words.restarts()
    }

    /// The guest starts anew: what it said last is forgotten.
    pub fn forget_last_words(&self) {
        self.last_words.forget();
    }

    /// The guest writes `byte` to its console.
    #[inline]
    pub fn output(&self, byte: u8) {
        self.milestones.mark(Milestone::FirstOutput);
        self.last_words.hear_serial(byte);
        if let Some(lines) = &self.lines {
            self.keep(&mut lines.lock(), byte);
        }
    }

    /// The lines so far, and how many more there were than are kept.
    pub fn lines(&self) -> (Vec<ConsoleLine>, u64) {
        let Some(lines) = &self.lines else {
            return (Vec::new(), 0);
        };
        let mut lines = lines.lock();
        lines.end();
        (lines.kept.clone(), lines.lost)
    }

    #[inline(never)]
    fn keep(&self, lines: &mut Lines, byte: u8) {
        match byte {
            b'\n' => lines.end(),
            b'\r' => {}
            b'\t' => self.keep(lines, b' '),
            _ => {
                if lines.bytes.is_empty() {
                    lines.began = self.milestones.start().elapsed();
                }
                if lines.bytes.len() < LINE {
                    lines.bytes.push(byte);
                }
            }
        }
    }
}

impl Lines {
    fn end(&mut self) {
        let bytes = mem::take(&mut self.bytes);
        if bytes.is_empty() {
            return;
        }
        if self.kept.len() >= LINES {
            self.lost += 1;
            return;
        }
        let text = String::from_utf8_lossy(&bytes);
        let text = text.replace(|c: char| c.is_control(), "\u{fffd}");
        self.kept.push(ConsoleLine {
            at: self.began,
            text,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(log: &BootLog, text: &str) {
        text.bytes().for_each(|byte| log.output(byte));
    }

    fn texts(log: &BootLog) -> Vec<String> {
        log.lines().0.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_are_kept_in_order_and_the_last_one_without_its_end() {
        let log = BootLog::since(Instant::now()).with_lines();
        say(&log, "one\r\n\r\ntwo\x1b[0m\nthr");
        assert_eq!(texts(&log), ["one", "two\u{fffd}[0m", "thr"]);
        let (lines, lost) = log.lines();
        assert!(lines.is_sorted_by_key(|line| line.at));
        assert_eq!(lost, 0);
        assert!(log.milestones().reached(Milestone::FirstOutput).is_some());
    }

    #[test]
    fn a_guest_that_never_stops_talking_takes_no_more_than_its_room() {
        let log = BootLog::since(Instant::now()).with_lines();
        say(&log, &"x".repeat(10_000));
        say(&log, &"\ny".repeat(5_000));
        let (lines, lost) = log.lines();
        assert_eq!((lines.len(), lost), (4096, 905));
        assert_eq!(lines[0].text.len(), 240);
    }

    #[test]
    fn nothing_is_kept_that_was_not_asked_for() {
        let log = BootLog::default();
        say(&log, "one\n");
        assert_eq!(log.lines(), (Vec::new(), 0));
    }
}
