//! Signals, on an event loop.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmmkit_host_io::{
    Signal, SignalFd, TimerFd, block_terminal_access_signals, stop_as_asked, window_size,
};
use vmmkit_telemetry::Occasions;

use crate::job::with_stdin;
use crate::{Guest, Job};

/// The signals that are events here.
pub(crate) const HANDLED: [Signal; 7] = [
    Signal::Hangup,
    Signal::Interrupt,
    Signal::Quit,
    Signal::Terminate,
    Signal::TerminalStop,
    Signal::Continue,
    Signal::WindowChange,
];

/// How long the end may take that was asked for twice. A back end of another process is waited for half a
/// second of it.
const LAST_PATIENCE: Duration = Duration::from_millis(700);

/// Turns signals into requests to the machine.
///
/// | signal | what it does |
/// | --- | --- |
/// | TERM, INT, HUP | the first asks the guest to power off; the second, or the timeout, stops it. The process is to die by the first. Where the run has not ended 700 ms after the second, it is given up |
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
    /// A signal came again: the timeout is the last.
    insisted: bool,
    told: Occasions,
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
            insisted: false,
            told: Occasions::default(),
            job,
            guest,
        })
    }

    fn end(&mut self, signal: Signal) {
        self.job.end_by(signal);
        let is_again = std::mem::replace(&mut self.asked, true);
        if is_again && !std::mem::replace(&mut self.insisted, true) {
            self.timeout.arm_once(LAST_PATIENCE);
        }
        if is_again || self.patience.is_zero() {
            return self.guest.stop();
        }
        self.timeout.arm_once(self.patience);
        self.guest.ask_to_power_off();
    }

    fn lose_patience(&self) {
        match self.job.ended_by() {
            Some(signal) if self.insisted => self.guest.give_up(signal),
            _ => self.guest.stop(),
        }
    }

    /// Stops as SIGTSTP stops any process, with the guest paused and the terminal given back.
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
            self.lose_patience();
        }
        if self.job.look.drain() {
            self.look();
        }
        // The SIGCONT that ends our own stop is still to be read after it.
        let mut was_stopped = false;
        while let Some(signal) = self.signals.read() {
            if let Some(count) = self.told.next() {
                tracing::debug!(?signal, count, "signal");
            }
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

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use vmmkit_host_io::WindowSize;

    use super::*;

    /// Writes down what it is told, and does nothing of it.
    #[derive(Default)]
    struct Deaf(Mutex<Vec<String>>);

    impl Deaf {
        fn note(&self, call: &str) {
            self.0.lock().push(call.to_owned());
        }
    }

    impl Guest for Deaf {
        fn ask_to_power_off(&self) {
            self.note("ask");
        }
        fn stop(&self) {
            self.note("stop");
        }
        fn give_up(&self, signal: Signal) {
            self.note(&format!("give up by {signal:?}"));
        }
        fn pause(&self) -> bool {
            false
        }
        fn resume(&self) {}
        fn dump(&self) {}
        fn resize(&self, _: WindowSize) {}
    }

    fn told(patience: Duration, signals: &[Signal]) -> Vec<String> {
        let guest = Arc::new(Deaf::default());
        let job = Arc::new(Job::new().unwrap());
        let mut all = Signals::new(job, guest.clone(), patience).unwrap();
        for signal in signals {
            all.end(*signal);
        }
        // What the event loop does.
        while !all.timeout.drain() {
            std::thread::yield_now();
        }
        all.lose_patience();
        let told = guest.0.lock();
        told.clone()
    }

    #[test]
    fn a_machine_that_does_not_end_is_given_up_where_somebody_insists() {
        use Signal::{Interrupt, Terminate};
        let (soon, late) = (Duration::from_millis(1), Duration::from_secs(3600));
        assert_eq!(told(soon, &[Terminate]), ["ask", "stop"]);
        let given_up = ["ask", "stop", "give up by Terminate"];
        assert_eq!(told(late, &[Terminate, Interrupt]), given_up);
        // However often it is asked for, it is not put off.
        let often = told(late, &[Interrupt; 4]);
        assert_eq!(often.last().unwrap(), "give up by Interrupt");
        let at_once = told(Duration::ZERO, &[Terminate, Terminate]);
        assert_eq!(at_once, ["stop", "stop", "give up by Terminate"]);
    }
}
