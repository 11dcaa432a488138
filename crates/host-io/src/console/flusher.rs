//! Output on the event loop.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};

use super::ConsolePort;
use crate::OutputBuffer;

/// Writes the buffer out when its time comes.
pub(super) struct OutputFlusher {
    buffer: Arc<OutputBuffer>,
    port: Arc<dyn ConsolePort>,
    on_first_output: Option<Box<dyn FnOnce() + Send>>,
}

impl OutputFlusher {
    pub(super) fn new(
        buffer: Arc<OutputBuffer>,
        port: Arc<dyn ConsolePort>,
        on_first_output: Option<Box<dyn FnOnce() + Send>>,
    ) -> Self {
        Self {
            buffer,
            port,
            on_first_output,
        }
    }
}

impl MutEventSubscriber for OutputFlusher {
    fn process(&mut self, _events: Events, _ops: &mut EventOps<'_>) {
        // Before the output, which may go to the same terminal as what the owner says of it.
        if let Some(first) = self.on_first_output.take() {
            first();
        }
        // A reader that has gone away is the buffer's to remember: the guest goes on without.
        let _ = self.buffer.flush();
        self.port.output_ready();
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        for fd in self.buffer.wake_fds() {
            // Refused only by a host out of memory: output then waits for the final drain.
            let _ = ops.add(Events::new_raw(fd.as_raw_fd(), EventSet::IN));
        }
    }
}
