//! A person at a shell with job control, who starts a machine as a job of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::disk::Scratch;
use crate::terminal::Terminal;

/// The shell's prompt when it waits for a line.
pub const PROMPT: &str = "ready> ";

/// dash(1), which does not change the terminal to edit lines: between two jobs it is as it was.
const SHELLS: [&str; 2] = ["/bin/dash", "/usr/bin/dash"];

/// The shell, on a terminal of its own. The machine is started by `$VM`, with more arguments if
/// need be, and killed by its own id when the shell is dropped.
#[derive(Debug)]
pub struct Shell {
    /// Its terminal.
    pub terminal: Terminal,
    scratch: Scratch,
    program: PathBuf,
    limit: Duration,
}

impl Shell {
    /// A shell at its prompt, in which `$VM` is `machine`; `None`, and why on stderr, where there is
    /// no such shell. Nothing that is waited for may take longer than `limit`.
    ///
    /// # Errors
    /// The host's, and what was on the screen instead of the prompt.
    #[expect(clippy::print_stderr, reason = "a skip is loud")]
    pub fn start(name: &str, machine: &Command, limit: Duration) -> Result<Option<Self>, String> {
        let Some(shell) = SHELLS.iter().find(|path| Path::new(path).exists()) else {
            eprintln!("SKIPPED: {name}: there is no dash");
            return Ok(None);
        };
        let text = |error: io::Error| error.to_string();
        let scratch = Scratch::new().map_err(text)?;
        let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy());
        let words = std::iter::once(machine.get_program()).chain(machine.get_args());
        let words: Vec<_> = words.map(quoted).collect();
        // The shell's words for a job do not tell its id.
        let script = format!(
            "echo $$ >'{}'\nexec {} \"$@\"\n",
            scratch.path().join("pid").display(),
            words.join(" ")
        );
        let path = scratch.path().join("vm");
        fs::write(&path, script).map_err(text)?;
        let mut command = Command::new("env");
        command.args([format!("PS1={PROMPT}"), "ENV=".to_owned()]);
        command.arg(format!("VM={shell} {}", path.display()));
        command.args([shell, "-i"]);
        let mut terminal = Terminal::start(&command).map_err(text)?;
        terminal.sees(PROMPT, limit)?;
        Ok(Some(Self {
            terminal,
            scratch,
            program: machine.get_program().into(),
            limit,
        }))
    }

    /// Types a line.
    pub fn line(&self, line: &str) {
        self.terminal.types(format!("{line}\r"));
    }

    /// Waits for `text`, and takes everything up to its end.
    ///
    /// # Errors
    /// The screen's contents instead.
    pub fn sees(&mut self, text: &str) -> Result<String, String> {
        self.terminal.sees(text, self.limit)
    }

    /// Types a line and waits for the answer, which the line itself must not hold.
    ///
    /// # Errors
    /// The screen's contents instead.
    pub fn ask(&mut self, line: &str, answer: &str) -> Result<String, String> {
        self.line(line);
        self.sees(answer)
    }

    /// Waits for the shell's prompt, and until the terminal is, bit by bit, as it was before any
    /// machine.
    ///
    /// # Errors
    /// The screen's contents instead, or that the terminal stays as it is.
    pub fn is_back(&mut self) -> Result<String, String> {
        let seen = self.sees(PROMPT)?;
        let terminal = &self.terminal;
        self.eventually("the terminal is as before", || {
            terminal.is_as_before().then_some(())
        })?;
        Ok(seen)
    }

    /// Waits until every key goes to the machine.
    ///
    /// # Errors
    /// That they do not.
    pub fn becomes_raw(&self) -> Result<(), String> {
        let is_raw = || self.terminal.is_raw().then_some(());
        self.eventually("the terminal is raw", is_raw)
    }

    /// The id of the machine that was started last.
    ///
    /// # Errors
    /// That there is none.
    pub fn pid(&self) -> Result<Pid, String> {
        self.eventually("a machine is started", || self.known_pid())
    }

    /// Forgets the last machine.
    pub fn forget(&self) {
        let _ = fs::remove_file(self.scratch.path().join("pid"));
    }

    /// Sends the machine a signal.
    ///
    /// # Errors
    /// That there is none.
    pub fn signals(&self, signal: Signal) -> Result<(), String> {
        kill_process(self.pid()?, signal).map_err(|error| error.to_string())
    }

    /// Waits until the machine's process is in one of these states: `T` is stopped (proc(5)).
    ///
    /// # Errors
    /// That it is not.
    pub fn is_in_state(&self, states: &str) -> Result<(), String> {
        let pid = self.pid()?;
        self.eventually(states, || states.contains(state_of(pid)?).then_some(()))
    }

    /// Looks until there is something, or the limit has passed.
    ///
    /// # Errors
    /// `what` was never there.
    pub fn eventually<T>(
        &self,
        what: &str,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T, String> {
        let deadline = Instant::now() + self.limit;
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                return Err(format!("never: {what}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn known_pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.scratch.path().join("pid")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Stopped, or in the background, it would outlive its shell.
        let is_it = |pid: &Pid| {
            let exe = fs::read_link(format!("/proc/{}/exe", pid.as_raw_pid())).ok();
            exe.is_some() && exe == fs::canonicalize(&self.program).ok()
        };
        if let Some(pid) = self.known_pid().filter(is_it) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn state_of(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}
