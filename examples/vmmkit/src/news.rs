//! What happens to a guest that goes on, told on stderr: crashes, and what is done about them.

use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmmkit_host_io::{Next, Subscription};
use vmmkit_vmm::{Event, OnCrash};

use crate::messages;

/// The least time between two messages.
const PACE: Duration = Duration::from_secs(1);

/// Follows a machine's events on its event loop.
pub(crate) struct News {
    events: Subscription<Event>,
    on_crash: OnCrash,
    /// A guest that crashes again and again is told of once a second.
    told: Option<Instant>,
}

impl News {
    pub(crate) fn new(events: Subscription<Event>, on_crash: OnCrash) -> Self {
        Self {
            events,
            on_crash,
            told: None,
        }
    }

    fn tell(&mut self, event: &Event) {
        let Some(text) = self.text(event) else { return };
        if self.told.is_none_or(|told| told.elapsed() >= PACE) {
            self.told = Some(Instant::now());
            messages::say(&text);
        }
    }

    /// What there is to say of `event`; the end of a run is `finish`'s to tell.
    fn text(&self, event: &Event) -> Option<String> {
        let crash = match event {
            Event::Panicked => "the guest's kernel panicked".to_owned(),
            Event::TripleFault(vcpu) => format!("{vcpu}: the guest ended in a triple fault"),
            Event::CrashLoaded => {
                return Some("the guest's kernel panicked; its crash kernel runs".to_owned());
            }
            _ => return None,
        };
        match self.on_crash {
            OnCrash::Pause => Some(format!(
                "{crash}; it is kept as it is\n  next: look at it, then quit (Ctrl-a x) or stop it"
            )),
            OnCrash::Reboot => Some(format!("{crash}; it starts anew")),
            OnCrash::Exit => None,
        }
    }
}

impl MutEventSubscriber for News {
    fn process(&mut self, _events: Events, ops: &mut EventOps<'_>) {
        loop {
            match self.events.next_now() {
                Next::Message(message) => {
                    self.tell(&message.body);
                }
                Next::Missed(_) => {}
                Next::Empty => return,
                Next::Closed => {
                    let _ = ops.remove(Events::empty_raw(self.events.as_fd().as_raw_fd()));
                    return;
                }
            }
        }
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        // Refused only by a host out of memory: nothing is told then.
        let fd = self.events.as_fd().as_raw_fd();
        let _ = ops.add(Events::new_raw(fd, EventSet::IN));
    }
}
