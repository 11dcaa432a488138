//! Signals, on an event loop.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmmkit_host_io::{
    Signal, SignalFd, TimerFd, block_terminal_access_signals, stop_as_asked, window_size,
};

use crate::job::with_stdin;
use crate::{Guest, Job};

/// The signals that are events here.
const HANDLED: [Signal; 7] = [
    Signal::Hangup,
    Signal::Interrupt,
    Signal::Quit,
    Signal::Terminate,
    Signal::TerminalStop,
    Signal::Continue,
    Signal::WindowChange,
];

/// Turns signals into requests to the machine.
///
/// | signal | what it does |
/// | --- | --- |
/// | TERM, INT, HUP | the first asks the guest to power off; the second, or the timeout, stops it. The process is to die by the first |
/// | QUIT | says what the vCPUs are at |
/// | TSTP | pauses the guest, restores the terminal, stops the process; the guest goes on when it is continued |
/// | CONT | after SIGSTOP: takes the terminal back and tells the guest of the gap |
/// | WINCH | tells the guest the window's size |
/// | TTIN, TTOU | never come: the terminal is left alone in the background, but for output |
pub struct Signals {
    signals: SignalFd,
    timeout: TimerFd,
    patience: Duration,
    asked: bool,
    job: Arc<Job>,
    guest: Arc<dyn Guest>,
}

impl Signals {
    /// Blocks the signals, in this thread and all it will start, and waits for them from now on.
    /// `patience` is how long a guest may take to power off; with none it is not asked.
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub fn new(job: Arc<Job>, guest: Arc<dyn Guest>, patience: Duration) -> io::Result<Self> {
        block_terminal_access_signals();
        Ok(Self {
            signals: SignalFd::block(&HANDLED)?,
            timeout: TimerFd::new()?,
            patience,
            asked: false,
            job,
            guest,
        })
    }

    fn end(&mut self, signal: Signal) {
        self.job.end_by(signal);
        if self.asked || self.patience.is_zero() {
            return self.guest.stop();
        }
        self.asked = true;
        self.timeout.arm_once(self.patience);
        self.guest.ask_to_power_off();
    }

    /// What SIGTSTP does to any process, with the guest paused and the terminal given back.
    fn stop_for_a_while(&self) {
        let is_paused = self.guest.pause();
        self.job.lend_terminal();
        stop_as_asked();
        self.look();
        if is_paused {
            self.guest.resume();
        }
    }

    /// After a SIGSTOP, which comes without a warning: a pause tells the guest of the gap.
    fn go_on(&self) {
        self.look();
        if self.guest.pause() {
            self.guest.resume();
        }
    }

    /// Takes the terminal if it is this job's.
    fn look(&self) {
        if with_stdin(|tty| self.job.take_terminal(tty)) {
            self.resize();
        }
    }

    fn resize(&self) {
        if let Some(size) = with_stdin(window_size) {
            self.guest.resize(size);
        }
    }
}

impl MutEventSubscriber for Signals {
    fn process(&mut self, _events: Events, _ops: &mut EventOps<'_>) {
        if self.timeout.drain() {
            self.guest.stop();
        }
        if self.job.look.drain() {
            self.look();
        }
        // The SIGCONT that ends our own stop is still to be read after it.
        let mut was_stopped = false;
        while let Some(signal) = self.signals.read() {
            tracing::debug!(?signal, "signal");
            match signal {
                Signal::Hangup | Signal::Interrupt | Signal::Terminate => self.end(signal),
                Signal::Quit => self.guest.dump(),
                Signal::TerminalStop => {
                    self.stop_for_a_while();
                    was_stopped = true;
                }
                Signal::Continue if was_stopped => was_stopped = false,
                Signal::Continue => self.go_on(),
                Signal::WindowChange => self.resize(),
            }
        }
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        // Refused only by a host out of memory: the signals then stay pending.
        let _ = ops.add(Events::new(&self.signals, EventSet::IN));
        let _ = ops.add(Events::new(&self.timeout, EventSet::IN));
        let _ = ops.add(Events::new(&self.job.look, EventSet::IN));
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals")
            .field("patience", &self.patience)
            .field("asked", &self.asked)
            .field("job", &self.job)
            .finish_non_exhaustive()
    }
}
