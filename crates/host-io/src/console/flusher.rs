//! Output on the event loop.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};

use super::port::{ConsolePort, LostOutput};
use crate::{Flush, OutputBuffer};

/// Writes the buffer out when its time comes.
pub(super) struct OutputFlusher {
    pub(super) buffer: Arc<OutputBuffer>,
    pub(super) port: Arc<dyn ConsolePort>,
    pub(super) on_first_output: Option<Box<dyn FnOnce() + Send>>,
    pub(super) on_lost_output: Option<Box<dyn FnOnce(LostOutput) + Send>>,
}

impl MutEventSubscriber for OutputFlusher {
    fn process(&mut self, _events: Events, _ops: &mut EventOps<'_>) {
        // Before the output, which may go to the same terminal as what the owner says of it.
        if let Some(first) = self.on_first_output.take() {
            first();
        }
        let lost = match self.buffer.flush() {
            Ok(Flush::Stalled) if self.buffer.is_dropping() => Some(LostOutput::NotRead),
            Ok(Flush::Done | Flush::Stalled) => None,
            // The buffer remembers it: the guest goes on without a reader.
            Ok(Flush::Gone) => Some(LostOutput::NoReader),
            Err(error) => Some(LostOutput::Failed(error)),
        };
        if let Some(lost) = lost
            && let Some(tell) = self.on_lost_output.take()
        {
            tell(lost);
        }
        self.port.output_ready();
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        for fd in self.buffer.wake_fds() {
            // Refused only by a host out of memory: output then waits for the final drain.
            let _ = ops.add(Events::new_raw(fd.as_raw_fd(), EventSet::IN));
        }
    }
}
