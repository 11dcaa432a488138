//! The end of a piped input, told to the guest until it has heard.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmmkit_host_io::TimerFd;

use crate::stream::END_OF_INPUT;

/// How long the guest is left alone after the first Ctrl-D; each pause is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// Types bytes on the guest's console.
type Typist = Box<dyn Fn(&[u8]) + Send>;

/// Types Ctrl-D again and again once the input is over. One is not enough: a Ctrl-D that arrives
/// while a terminal is in canonical mode reads as a NUL once a shell's line editor has left that
/// mode (Linux's n_tty), so one typed ahead of the prompt is lost.
pub struct EndOfInput {
    timer: Arc<TimerFd>,
    pause: Duration,
    type_bytes: Typist,
}

impl EndOfInput {
    /// Does nothing until the input's reader ([`StreamInput`](crate::StreamInput)) fires `timer`; `type_bytes`
    /// types on the guest's console.
    pub fn new(timer: Arc<TimerFd>, type_bytes: impl Fn(&[u8]) + Send + 'static) -> Self {
        Self {
            timer,
            pause: FIRST_PAUSE,
            type_bytes: Box::new(type_bytes),
        }
    }
}

impl fmt::Debug for EndOfInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndOfInput").finish_non_exhaustive()
    }
}

impl MutEventSubscriber for EndOfInput {
    fn process(&mut self, _events: Events, _ops: &mut EventOps<'_>) {
        if !self.timer.drain() {
            return;
        }
        // A guest that takes nothing now is told the next time.
        (self.type_bytes)(&[END_OF_INPUT]);
        self.timer.arm_once(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        // Refused only by a host out of memory: the guest is told once then.
        let _ = ops.add(Events::new(&*self.timer, EventSet::IN));
    }
}
