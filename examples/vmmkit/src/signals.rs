//! Signals, on the machine's event loop.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmmkit_host_io::{Signal, SignalFd, TimerFd, stop_self};

use crate::remote::Remote;

/// The signals that are events to vmmkit.
const HANDLED: [Signal; 6] = [
    Signal::Hangup,
    Signal::Interrupt,
    Signal::Terminate,
    Signal::TerminalStop,
    Signal::Continue,
    Signal::WindowChange,
];

/// Turns signals into requests to the machine. The first of TERM, INT and HUP asks the guest to
/// power off; the second, or the timeout, stops it.
pub(crate) struct Signals {
    signals: SignalFd,
    timeout: TimerFd,
    patience: Duration,
    has_acpi: bool,
    asked: bool,
    remote: Arc<Remote>,
}

impl Signals {
    /// Blocks the signals, in this thread and all it will start, and waits for them from now on.
    pub(crate) fn new(remote: Arc<Remote>, patience: Duration, has_acpi: bool) -> io::Result<Self> {
        Ok(Self {
            signals: SignalFd::block(&HANDLED)?,
            timeout: TimerFd::new()?,
            patience,
            has_acpi,
            asked: false,
            remote,
        })
    }

    fn act(&mut self, signal: Signal) {
        match signal {
            Signal::Hangup | Signal::Interrupt | Signal::Terminate => self.end(signal),
            Signal::TerminalStop => self.stop_for_a_while(),
            Signal::Continue => self.remote.take_terminal(io::stdin().as_fd()),
            Signal::WindowChange => self.remote.resize(),
            Signal::Quit => {}
        }
    }

    fn end(&mut self, signal: Signal) {
        self.remote.end_by(signal);
        if self.asked || self.patience.is_zero() {
            return self.remote.with(|machine| machine.stop());
        }
        self.asked = true;
        self.timeout.arm_once(self.patience);
        let has_acpi = self.has_acpi;
        self.remote.with(|machine| match has_acpi {
            true => machine.power_button(),
            false => machine.ctrl_alt_del(),
        });
    }

    /// What SIGTSTP does to any process, with the guest paused and the terminal given back.
    fn stop_for_a_while(&self) {
        self.remote.with(|machine| {
            if machine.pause() {
                self.remote.lend_terminal();
                stop_self();
                self.remote.take_terminal(io::stdin().as_fd());
                machine.resume();
            }
        });
    }
}

impl MutEventSubscriber for Signals {
    fn process(&mut self, _events: Events, _ops: &mut EventOps<'_>) {
        if self.timeout.drain() {
            self.remote.with(|machine| machine.stop());
        }
        while let Some(signal) = self.signals.read() {
            self.act(signal);
        }
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        // Refused only by a host out of memory: the signals then stay pending.
        let _ = ops.add(Events::new(&self.signals, EventSet::IN));
        let _ = ops.add(Events::new(&self.timeout, EventSet::IN));
    }
}
