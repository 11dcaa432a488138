//! The end of a piped input, told to the guest a few times.

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

/// Ctrl-Ds besides the one at the end itself: for half a minute.
const MORE: u32 = 11;

/// Types bytes on the guest's console.
type Typist = Box<dyn Fn(&[u8]) + Send>;

/// Types Ctrl-D a dozen times within half a minute once the input is over. One is not enough: a Ctrl-D that arrives
/// while a terminal is in canonical mode reads as a NUL once a shell's line editor has left that
/// mode (Linux's n_tty), so one typed ahead of the prompt is lost. Without an end to them a getty would
/// ask for a name for ever.
pub struct EndOfInput {
    timer: Arc<TimerFd>,
    pause: Duration,
    /// Ctrl-Ds still to come.
    left: u32,
    type_bytes: Typist,
}

impl EndOfInput {
    /// Does nothing until the input's reader ([`StreamInput`](crate::StreamInput)) fires `timer`; `type_bytes`
    /// types on the guest's console.
    pub fn new(timer: Arc<TimerFd>, type_bytes: impl Fn(&[u8]) + Send + 'static) -> Self {
        Self {
            timer,
            pause: FIRST_PAUSE,
            left: MORE,
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
        let Some(left) = self.left.checked_sub(1) else {
            return;
        };
        self.left = left;
        // A guest that takes nothing now is told the next time.
        (self.type_bytes)(&[END_OF_INPUT]);
        if left > 0 {
            self.timer.arm_once(self.pause);
        }
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        // Refused only by a host out of memory: the guest is told once then.
        let _ = ops.add(Events::new(&*self.timer, EventSet::IN));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use event_manager::{EventManager, SubscriberOps};

    use super::*;

    #[test]
    fn an_end_is_told_so_often_and_no_more() {
        let timer = Arc::new(TimerFd::new().unwrap());
        let typed = Arc::new(AtomicU32::new(0));
        let counted = typed.clone();
        let mut end = EndOfInput::new(timer.clone(), move |bytes| {
            assert_eq!(bytes, [END_OF_INPUT]);
            counted.fetch_add(1, Ordering::Relaxed);
        });
        end.pause = Duration::ZERO;
        let mut manager = EventManager::<EndOfInput>::new().unwrap();
        manager.add_subscriber(end);
        for turns in 1..=MORE + 3 {
            timer.arm_once(Duration::from_nanos(1));
            manager.run_with_timeout(-1).unwrap();
            assert_eq!(typed.load(Ordering::Relaxed), turns.min(MORE));
        }
    }
}
