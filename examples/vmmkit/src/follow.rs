//! The machine's events, followed on its event loop.

use std::os::fd::{AsFd, AsRawFd};

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmmkit_host_io::{Next, Subscription};
use vmmkit_vmm::Event;

/// Has `act` do something at each event, as long as there are any.
pub(crate) struct Follow<F> {
    events: Subscription<Event>,
    act: F,
}

impl<F: FnMut(&Event)> Follow<F> {
    pub(crate) fn new(events: Subscription<Event>, act: F) -> Self {
        Self { events, act }
    }
}

impl<F: FnMut(&Event)> MutEventSubscriber for Follow<F> {
    fn process(&mut self, _events: Events, ops: &mut EventOps<'_>) {
        loop {
            match self.events.next_now() {
                Next::Message(message) => (self.act)(&message.body),
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
        // Refused only by a host out of memory: nothing is heard then.
        let fd = self.events.as_fd().as_raw_fd();
        let _ = ops.add(Events::new_raw(fd, EventSet::IN));
    }
}
