//! `--timeout`: how long the guest may run.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmmkit_host_io::TimerFd;

use crate::remote::Remote;

/// Stops the machine when its time is up.
pub(crate) struct Deadline {
    timer: TimerFd,
    remote: Arc<Remote>,
}

impl Deadline {
    /// For the machine of `remote`, `limit` from now.
    pub(crate) fn new(limit: Duration, remote: Arc<Remote>) -> io::Result<Self> {
        let timer = TimerFd::new()?;
        timer.arm_once(limit);
        Ok(Self { timer, remote })
    }
}

impl MutEventSubscriber for Deadline {
    fn process(&mut self, _events: Events, _ops: &mut EventOps<'_>) {
        if self.timer.drain() {
            self.remote.stop_late();
        }
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        // Refused only by a host out of memory.
        let _ = ops.add(Events::new(&self.timer, EventSet::IN));
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadline").finish_non_exhaustive()
    }
}
