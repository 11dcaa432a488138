//! How the command ended, as the host hears it from the guest.

use parking_lot::Mutex;

/// The longest line that a guest may say; the rest of it is left out.
const LINE: usize = 1024;

/// The end of the command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// It ended with this exit code: 128 and the signal's number, where a signal ended it.
    Exited(u8),
    /// It did not begin. The reason is the guest's, one line of printable ASCII.
    Failed(String),
    /// Nobody reads its output any more.
    OutputClosed,
    /// Its output could not be written.
    OutputLost,
}

/// A line of the guest's.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Status {
    /// The exit code, and bytes of stdout and stderr.
    Exited(u8, u64, u64),
    Failed(String),
}

impl Status {
    fn parse(line: &[u8]) -> Option<Self> {
        let line = String::from_utf8_lossy(line);
        if let Some(reason) = line.strip_prefix("failed ") {
            let printable = |it: &char| it.is_ascii_graphic() || *it == ' ';
            return Some(Self::Failed(reason.chars().filter(printable).collect()));
        }
        let mut words = line.strip_prefix("exited ")?.split(' ');
        let code = words.next()?.parse().ok()?;
        let stdout = words.next()?.parse().ok()?;
        let stderr = words.next()?.parse().ok()?;
        words
            .next()
            .is_none()
            .then_some(Self::Exited(code, stdout, stderr))
    }
}

#[derive(Debug, Default)]
struct State {
    line: Vec<u8>,
    said: Option<Status>,
    stdout: u64,
    stderr: u64,
    ended: Option<Ended>,
}

/// Hears how the command ends: the first word of it counts.
pub struct Monitor {
    state: Mutex<State>,
    at_end: Box<dyn Fn() + Send + Sync>,
}

impl Monitor {
    /// Calls `at_end` once, when the command has ended and all its output has come. It must not wait.
    pub fn new(at_end: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            state: Mutex::default(),
            at_end: Box::new(at_end),
        }
    }

    /// So many more bytes of the command's output have come.
    pub fn count_stdout(&self, bytes: usize) {
        self.change(|state| state.stdout = state.stdout.saturating_add(bytes as u64));
    }

    /// So many more bytes of its errors have come.
    pub fn count_stderr(&self, bytes: usize) {
        self.change(|state| state.stderr = state.stderr.saturating_add(bytes as u64));
    }

    /// The guest has written `bytes` to its port for that.
    pub fn hear_status(&self, bytes: &[u8]) {
        self.change(|state| {
            for byte in bytes {
                match byte {
                    b'\n' => {
                        let line = std::mem::take(&mut state.line);
                        state.said = state.said.take().or(Status::parse(&line));
                    }
                    _ if state.line.len() < LINE => state.line.push(*byte),
                    _ => {}
                }
            }
        });
    }

    /// Nobody reads the command's output any more.
    pub fn output_closed(&self) {
        self.end(Ended::OutputClosed);
    }

    /// Some of the command's output could not be written.
    pub fn output_lost(&self) {
        self.end(Ended::OutputLost);
    }

    fn end(&self, ended: Ended) {
        self.change(|state| {
            state.ended.get_or_insert(ended);
        });
    }

    /// How it ended; `None` before.
    pub fn ended(&self) -> Option<Ended> {
        self.state.lock().ended.clone()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        let had_ended = state.ended.is_some();
        change(&mut state);
        if state.ended.is_none() {
            state.ended = match &state.said {
                Some(Status::Failed(reason)) => Some(Ended::Failed(reason.clone())),
                Some(Status::Exited(code, stdout, stderr))
                    if state.stdout >= *stdout && state.stderr >= *stderr =>
                {
                    Some(Ended::Exited(*code))
                }
                _ => None,
            };
        }
        let ends_now = !had_ended && state.ended.is_some();
        drop(state);
        if ends_now {
            (self.at_end)();
        }
    }
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn monitor() -> (Monitor, Arc<AtomicU32>) {
        let ends = Arc::new(AtomicU32::new(0));
        let counted = ends.clone();
        let monitor = Monitor::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        (monitor, ends)
    }

    #[test]
    fn the_end_waits_for_all_output_and_comes_once() {
        let (monitor, ends) = monitor();
        monitor.count_stdout(10);
        monitor.hear_status(b"exited 130 1");
        monitor.hear_status(b"5 2\nexited 0 0 0\n");
        assert_eq!(monitor.ended(), None);
        monitor.count_stdout(5);
        monitor.count_stderr(1);
        assert_eq!(ends.load(Ordering::Relaxed), 0);
        monitor.count_stderr(1);
        assert_eq!(monitor.ended(), Some(Ended::Exited(130)));
        monitor.count_stderr(1);
        monitor.output_closed();
        assert_eq!(monitor.ended(), Some(Ended::Exited(130)));
        assert_eq!(ends.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_guest_may_say_anything() {
        let (monitor, ends) = monitor();
        let long = vec![b'x'; 100_000];
        for words in [
            &b"\n\n exited\nexited 1\nexited 256 0 0\nexited 1 2 3 4\nexited -1 0 0\n"[..],
            &long,
            b"\nfailed",
        ] {
            monitor.hear_status(words);
        }
        assert_eq!(monitor.ended(), None);
        monitor.hear_status(b"\nfailed no \x1b[31mroot\xff\n");
        assert_eq!(monitor.ended(), Some(Ended::Failed("no [31mroot".into())));
        assert_eq!(ends.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_status_is_a_line() {
        let read = |line: &str| Status::parse(line.as_bytes());
        assert_eq!(read("exited 7 1 2"), Some(Status::Exited(7, 1, 2)));
        assert_eq!(read("failed a b"), Some(Status::Failed("a b".into())));
        for other in [
            "",
            "exited",
            "exited 7 1",
            "exited 256 0 0",
            "exited 7 1 2 3",
            "Exited 7 1 2",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
