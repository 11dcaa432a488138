//! A terminal that is attached to the console of a machine in another process.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use vmmkit_host_io::{
    InputRead, Interest, Pollable, Poller, Ready, Signal, SignalFd, TimerFd, WindowSize,
    read_ready, ring_bell, stop_as_asked, window_size,
};

use crate::keys::Key;
use crate::signals::HANDLED;
use crate::{Command, EscapeKey, Job, Keys};

/// How long the machine may take nothing of what is typed, and count as one that reads.
const PATIENCE: Duration = Duration::from_secs(2);
/// The bytes of one read.
const CHUNK: usize = 1024;
const SIGNALS: u64 = 0;
const OUTPUT: u64 = 1;
const INPUT: u64 = 2;
const KEYS: u64 = 3;
const TIMER: u64 = 4;

/// A console in another process, as an [`Attachment`] uses it.
pub trait RemoteConsole {
    /// Readable when there is output.
    fn output(&self) -> BorrowedFd<'_>;

    /// Whether output was read ahead, which [`output`](Self::output) does not tell.
    fn has_output(&self) -> bool;

    /// Reads output, waiting for it; 0 bytes are the end of the machine.
    ///
    /// # Errors
    /// Any error is the end, too.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize>;

    /// Where what is typed goes: writable when there is room, readable when nobody takes it any more. `None` for one
    /// who only reads.
    fn input(&self) -> Option<BorrowedFd<'_>>;

    /// Whether all that was typed is written.
    fn is_flushed(&self) -> bool;

    /// Types `bytes`, or writes on what was typed, without waiting.
    fn type_bytes(&mut self, bytes: &[u8]);

    /// There is no more to type: what is typed ends.
    fn finish(&mut self);

    /// Nobody takes typed bytes any more: from here on this one only reads.
    fn lose_input(&mut self);

    /// The terminal has this size.
    fn resize(&mut self, size: WindowSize);

    /// The user asks for the keys.
    fn help(&mut self);
}

/// The way an attachment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The user left by Ctrl-a d, or nobody sees the output any more.
    Detached,
    /// The machine has ended, or is gone.
    Ended,
    /// A signal came.
    Signal(Signal),
}

/// The text for Ctrl-a h, as [`EscapeKey::in_text`] takes it.
pub const ATTACHED_HELP: &str = "keys:
  Ctrl-a h       this help
  Ctrl-a d       leave; the guest runs on
  Ctrl-a Ctrl-a  send Ctrl-a to the guest";

/// This process's terminal at a console. Keys go there but for Ctrl-a and one more; the bytes of a stdin that is not a
/// terminal are typed as they are, to its end.
#[derive(Debug)]
pub struct Attachment<C> {
    console: C,
    job: Job,
    signals: SignalFd,
    ready: Poller,
    patience: TimerFd,
    keys: Keys,
    is_terminal: bool,
    /// stdin has not ended.
    has_keys: bool,
    /// It is in `ready`.
    hears_keys: bool,
    /// Room for what is typed is waited for, since then.
    stuck: Option<Instant>,
}

impl<C: RemoteConsole> Attachment<C> {
    /// At `console`, with `escape` before the keys of this program. Signals of this thread, and of all that it starts, are blocked from now on.
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub fn new(console: C, escape: EscapeKey) -> io::Result<Self> {
        let stdin = io::stdin();
        let kind = Pollable::kind(stdin.as_fd());
        let job = Job::new()?;
        let ready = Poller::new()?;
        let signals = SignalFd::block(&HANDLED)?;
        let patience = TimerFd::new()?;
        ready.add(&signals, SIGNALS, Interest::Readable)?;
        ready.add(console.output(), OUTPUT, Interest::Readable)?;
        ready.add(&patience, TIMER, Interest::Readable)?;
        let is_terminal = matches!(kind, Pollable::Terminal);
        if is_terminal {
            job.hear_keys();
        }
        if let Some(input) = console.input() {
            ready.add(input, INPUT, Interest::Readable)?;
        }
        Ok(Self {
            console,
            job,
            signals,
            ready,
            patience,
            keys: Keys::new(escape),
            is_terminal,
            has_keys: !matches!(kind, Pollable::Null),
            hears_keys: false,
            stuck: None,
        })
    }

    /// Passes bytes both ways until the end; the terminal is raw meanwhile, and as before afterwards.
    ///
    /// # Errors
    /// The host's.
    pub fn run(mut self) -> io::Result<Left> {
        self.take_terminal();
        let left = self.pass();
        self.job.give_terminal_back();
        left
    }

    fn pass(&mut self) -> io::Result<Left> {
        let mut ready = Vec::new();
        loop {
            self.listen();
            ready.clear();
            match self.console.has_output() {
                true => self.ready.look(&mut ready)?,
                false => self.ready.wait(&mut ready)?,
            }
            if let Some(left) = self.hear_signals() {
                return Ok(left);
            }
            let is_ready = |token| ready.iter().any(|it: &Ready| it.token == token);
            if is_ready(TIMER) {
                self.patience.drain();
            }
            if ready.iter().any(|it| it.token == INPUT && it.readable) {
                self.lose_input();
            }
            // Writes on what waits.
            self.type_bytes(&[]);
            if (is_ready(OUTPUT) || self.console.has_output())
                && let Some(left) = self.show()
            {
                return Ok(left);
            }
            if is_ready(KEYS)
                && let Some(left) = self.read_keys()
            {
                return Ok(left);
            }
        }
    }

    /// Waits for keys, unless what was typed before waits; but a terminal's keys are read in the end, for Ctrl-a.
    fn listen(&mut self) {
        let is_stuck = !self.console.is_flushed();
        let is_deaf = self.is_terminal && self.stuck.is_some_and(|it| it.elapsed() >= PATIENCE);
        let wanted = self.has_keys && (!is_stuck || is_deaf);
        let stdin = io::stdin();
        if wanted && !self.hears_keys {
            let added = self.ready.add(stdin.as_fd(), KEYS, Interest::Readable);
            self.hears_keys = added.is_ok();
            if !self.hears_keys {
                // A regular file, which is always ready: it is read at once, a piece each time.
                self.has_keys = !self.type_file();
            }
        } else if !wanted && self.hears_keys {
            let _ = self.ready.remove(stdin.as_fd());
            self.hears_keys = false;
        }
    }

    /// Types the next piece of a file; whether it is at its end.
    fn type_file(&mut self) -> bool {
        let mut bytes = [0; CHUNK];
        match read_ready(io::stdin().as_fd(), &mut bytes) {
            Ok(InputRead::Bytes(count)) => {
                self.type_bytes(bytes.get(..count).unwrap_or_default());
                // So that the loop comes round again.
                self.patience.arm_once(Duration::from_millis(1));
                false
            }
            _ => {
                self.console.finish();
                true
            }
        }
    }

    fn hear_signals(&mut self) -> Option<Left> {
        let mut was_stopped = false;
        while let Some(signal) = self.signals.read() {
            match signal {
                Signal::WindowChange => self.resize(),
                Signal::TerminalStop => {
                    self.job.lend_terminal();
                    stop_as_asked();
                    self.take_terminal();
                    was_stopped = true;
                }
                Signal::Continue if was_stopped => was_stopped = false,
                Signal::Continue => self.take_terminal(),
                signal => return Some(Left::Signal(signal)),
            }
        }
        None
    }

    fn take_terminal(&mut self) {
        if self.is_terminal {
            self.job.take_terminal(io::stdin().as_fd());
            self.resize();
        }
    }

    fn resize(&mut self) {
        if self.console.input().is_some()
            && let Some(size) = window_size(io::stdin().as_fd())
        {
            self.console.resize(size);
        }
    }

    /// Shows the next output.
    fn show(&mut self) -> Option<Left> {
        let mut bytes = [0; 16 << 10];
        let count = self.console.read(&mut bytes).unwrap_or(0);
        if count == 0 {
            return Some(Left::Ended);
        }
        let mut stdout = io::stdout();
        let shown = stdout.write_all(bytes.get(..count).unwrap_or_default());
        let shown = shown.and_then(|()| stdout.flush());
        shown.err().map(|_| Left::Detached)
    }

    fn read_keys(&mut self) -> Option<Left> {
        let mut bytes = [0; CHUNK];
        match read_ready(io::stdin().as_fd(), &mut bytes) {
            Ok(InputRead::Bytes(count)) => {
                let typed = bytes.get(..count).unwrap_or_default();
                match self.is_terminal {
                    true => return self.sort(typed),
                    false => self.type_bytes(typed),
                }
            }
            Ok(InputRead::NotReady) => {}
            // A terminal that was hung up.
            Ok(InputRead::End) | Err(_) if self.is_terminal => return Some(Left::Detached),
            Ok(InputRead::End) | Err(_) => {
                self.has_keys = false;
                self.console.finish();
            }
        }
        None
    }

    fn sort(&mut self, typed: &[u8]) -> Option<Left> {
        let mut bytes = Vec::with_capacity(typed.len());
        let mut left = None;
        for byte in typed {
            match self.keys.next(*byte) {
                Key::Guest(byte) => bytes.push(byte),
                Key::Command(Command::Detach) => {
                    left = Some(Left::Detached);
                    break;
                }
                Key::Command(Command::Help) => self.console.help(),
                Key::Command(_) => ring_bell(io::stdin().as_fd()),
                Key::Nothing => {}
            }
        }
        let may_type = self.console.input().is_some() && self.console.is_flushed();
        match may_type {
            true => self.type_bytes(&bytes),
            false if !bytes.is_empty() => ring_bell(io::stdin().as_fd()),
            false => {}
        }
        left
    }

    /// Types `bytes`; where they do not all go, their place is waited for.
    fn type_bytes(&mut self, bytes: &[u8]) {
        if self.console.input().is_none() {
            return;
        }
        self.console.type_bytes(bytes);
        let is_flushed = self.console.is_flushed();
        if is_flushed == self.stuck.is_none() {
            return;
        }
        self.stuck = match is_flushed {
            true => None,
            false => {
                self.patience.arm_once(PATIENCE);
                Some(Instant::now())
            }
        };
        let interest = Interest::of(true, !is_flushed);
        if let Some(input) = self.console.input() {
            // Refused only by a host out of memory: it is tried again with the next key.
            let _ = self.ready.change(input, INPUT, interest);
        }
    }

    fn lose_input(&mut self) {
        if let Some(input) = self.console.input() {
            let _ = self.ready.remove(input);
        }
        self.console.lose_input();
        self.stuck = None;
        // A pipe has nobody to read its bytes for.
        self.has_keys = self.has_keys && self.is_terminal;
    }
}
