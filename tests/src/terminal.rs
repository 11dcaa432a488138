//! A person at a terminal: a pseudo-terminal with a program on it, driven by what is on the screen.
//!
//! Everything has a deadline, and the program is killed by its own id when its terminal is dropped.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::process::wait_until;

/// A program on a pseudo-terminal of its own, which is its controlling terminal.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    /// The screen's contents that nobody looked for yet.
    unseen: Vec<u8>,
    tty: OwnedFd,
    before: String,
}

impl Terminal {
    /// Starts `command` by way of setsid(1), which gives it the terminal and keeps its id.
    ///
    /// # Errors
    /// The host's, where it has no pseudo-terminal or cannot start the command.
    pub fn start(command: &Command) -> std::io::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = ptsname(&master, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let tty = open(path, flags, Mode::empty())?;
        tcsetwinsize(&tty, size(24, 80))?;
        let before = settings(&tty);
        let child = Command::new("setsid")
            .arg("-c")
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(tty.try_clone()?)
            .stdout(tty.try_clone()?)
            .stderr(tty.try_clone()?)
            .spawn()?;
        let master = File::from(master);
        Ok(Self {
            child,
            keyboard: master.try_clone()?,
            screen: read_all(master),
            unseen: Vec::new(),
            tty,
            before,
        })
    }

    /// Types `keys`, from a thread of its own: a terminal takes no more than its reader reads.
    pub fn types(&self, keys: impl AsRef<[u8]>) {
        let keys = keys.as_ref().to_vec();
        if let Ok(mut keyboard) = self.keyboard.try_clone() {
            // A terminal that is gone is seen by who looks at its screen.
            thread::spawn(move || drop(keyboard.write_all(&keys)));
        }
    }

    /// Waits until `text` is on the screen, and takes everything up to its end.
    ///
    /// # Errors
    /// The screen's contents instead after `limit`, or when the program had ended.
    pub fn sees(&mut self, text: &str, limit: Duration) -> Result<String, String> {
        let deadline = Instant::now() + limit;
        // Where the text may begin: what was looked at once is not looked at again.
        let mut start = 0;
        loop {
            if let Some(end) = find(&self.unseen, start, text.as_bytes()) {
                let seen: Vec<u8> = self.unseen.drain(..end).collect();
                return Ok(String::from_utf8_lossy(&seen).into_owned());
            }
            start = (self.unseen.len() + 1).saturating_sub(text.len());
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.unseen.extend(bytes),
                Err(error) => {
                    let seen = String::from_utf8_lossy(&self.unseen);
                    return Err(format!("no {text:?}, {error}, in {seen}"));
                }
            }
        }
    }

    /// Gives the terminal another size, which its program is told.
    ///
    /// # Errors
    /// The host's.
    pub fn resizes(&self, rows: u16, columns: u16) -> std::io::Result<()> {
        Ok(tcsetwinsize(&self.tty, size(rows, columns))?)
    }

    /// Sends the program a signal.
    pub fn signals(&self, signal: Signal) {
        // A program that has ended is seen by who waits for it.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// The program's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// MiB of the host's memory that the program has.
    ///
    /// # Errors
    /// The host's, where the program has ended.
    pub fn resident(&self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.id()))?;
        let rss = text.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kibibytes = rss.map(|rss| rss.trim().trim_end_matches(" kB").parse::<u64>());
        match kibibytes {
            Some(Ok(kibibytes)) => Ok(kibibytes >> 10),
            _ => Err(io::Error::other("smaps_rollup tells no Rss")),
        }
    }

    /// Waits until the program ends; `None` if it had to be killed after `limit`.
    ///
    /// # Errors
    /// The host's, where it cannot wait for it.
    pub fn ends(&mut self, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
        wait_until(&mut self.child, Instant::now() + limit)
    }

    /// Whether the terminal's settings are, bit by bit, what they were before the program.
    pub fn is_as_before(&self) -> bool {
        settings(&self.tty) == self.before
    }

    /// Whether every key goes to the program as it is.
    pub fn is_raw(&self) -> bool {
        let cooked = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        tcgetattr(&self.tty).is_ok_and(|settings| !settings.local_modes.intersects(cooked))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

fn settings(tty: &OwnedFd) -> String {
    format!("{:?}", tcgetattr(tty))
}

/// Where the first `text` that begins at `start` or later ends in `bytes`.
fn find(bytes: &[u8], start: usize, text: &[u8]) -> Option<usize> {
    let mut windows = bytes.get(start..)?.windows(text.len());
    let found = windows.position(|window| window == text)?;
    Some(start + found + text.len())
}

fn read_all(mut master: File) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(length) = master.read(&mut bytes) {
            let seen = bytes.get(..length).unwrap_or_default().to_vec();
            if sender.send(seen).is_err() {
                return;
            }
        }
    });
    receiver
}
