//! The end of a piped input, told to the guest until it has heard.

use std::sync::Arc;
use std::time::Duration;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmmkit_host_io::TimerFd;

use crate::remote::Remote;
use crate::stdin::END_OF_INPUT;

/// How long the guest is left alone after the first Ctrl-D; each pause is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// Types Ctrl-D again and again once the input is over. One is not enough: a Ctrl-D that arrives
/// while a terminal is in canonical mode reads as a NUL once a shell's line editor has left that
/// mode (Linux's n_tty), so one typed ahead of the prompt is lost.
pub(crate) struct EndOfInput {
    timer: Arc<TimerFd>,
    pause: Duration,
    remote: Arc<Remote>,
}

impl EndOfInput {
    /// Does nothing until the input's reader fires `timer`.
    pub(crate) fn new(timer: Arc<TimerFd>, remote: Arc<Remote>) -> Self {
        Self {
            timer,
            pause: FIRST_PAUSE,
            remote,
        }
    }
}

impl MutEventSubscriber for EndOfInput {
    fn process(&mut self, _events: Events, _ops: &mut EventOps<'_>) {
        if !self.timer.drain() {
            return;
        }
        self.remote.with(|machine| {
            // A guest that takes nothing now is told the next time.
            machine.type_on_serial(&[END_OF_INPUT]);
        });
        self.timer.arm_once(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        // Refused only by a host out of memory: the guest is told once then.
        let _ = ops.add(Events::new(&*self.timer, EventSet::IN));
    }
}
