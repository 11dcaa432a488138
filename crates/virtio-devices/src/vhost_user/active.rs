//! The device while a driver runs it.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};
use vmmkit_host_io::{ThreadRole, ThreadSpec};
use vmmkit_telemetry::error_line;
use vmmkit_virtio::{ActivateError, Activation, Active, Queue, QueueState};

use super::Config;
use super::back_end::{BackEnd, LIMIT, RESUME_LIMIT};
use super::forward::Forwarder;
use super::work::{Ring, Rings, Work};

/// The thread does nothing that is deep.
const STACK: usize = 128 << 10;

/// A device at work in another process.
#[derive(Debug)]
pub(super) struct VhostUserActive {
    name: Arc<str>,
    work: Arc<Work>,
    forwarder: Forwarder,
    rest: Arc<Rest>,
}

/// Coming to rest, which the back end's answers take their time for: by a thread that lives as long, so
/// that whoever pauses may give it up.
#[derive(Debug, Default)]
struct Rest {
    state: Mutex<RestState>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum RestState {
    /// Nobody is at it.
    #[default]
    Idle,
    /// The thread makes the back end let go of the queues.
    Stopping,
    /// The pause was revoked meanwhile: the back end gets them again.
    Revoked,
}

impl Rest {
    fn state(&self) -> MutexGuard<'_, RestState> {
        self.state.lock()
    }

    /// On the thread, or on the caller's where the host has no thread left.
    fn run(&self, work: &Work) {
        let mut rings = work.rings();
        rings.is_paused = true;
        work.stop_all(&mut rings);
        let state = std::mem::take(&mut *self.state());
        if state == RestState::Revoked {
            rings.is_paused = false;
            work.start_all(&mut rings, LIMIT);
        }
        self.changed.notify_all();
    }

    /// Waits until nobody is at it, or until `deadline`; whether nobody is.
    fn wait(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.state();
        while *state != RestState::Idle {
            let Some(deadline) = deadline else {
                self.changed.wait(&mut state);
                continue;
            };
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return *state == RestState::Idle;
            }
        }
        true
    }
}

impl VhostUserActive {
    pub(super) fn start(
        back_end: Arc<BackEnd>,
        config: Arc<Config>,
        mut activation: Activation,
    ) -> Result<Self, ActivateError> {
        let (fault, features) = (activation.fault.clone(), activation.features);
        let ram = activation.ram.clone();
        let work = Work::new(back_end, config, fault, features, ram)
            .map_err(|source| host("making an eventfd", source))?;
        let work = Arc::new(work);
        let thread = activation
            .threads
            .spec(&format!("virtio-{}", activation.name));
        let forwarder = Forwarder::start(thread, work.clone())
            .map_err(|source| host("starting a thread", source))?;
        let active = Self {
            name: activation.name.clone(),
            work,
            forwarder,
            rest: Arc::default(),
        };
        let indices: Vec<u16> = activation.queues.iter().map(Queue::index).collect();
        for index in indices {
            if let Some(queue) = activation.queues.remove(index) {
                active.add(&mut active.work.rings(), queue)?;
            }
        }
        let begun = active.work.begin();
        begun.map_err(|error| ActivateError::BackEnd(error.into()))?;
        // Not earlier: the error of a message says more than the end.
        let watched = active.forwarder.watch();
        watched.map_err(|source| host("watching the back end", source))?;
        Ok(active)
    }

    fn add(&self, rings: &mut Rings, queue: Queue) -> Result<(), ActivateError> {
        let line = self
            .forwarder
            .add(&queue)
            .map_err(|source| host("making an eventfd", source))?;
        rings.list.push(Ring::new(queue, line));
        Ok(())
    }
}

fn host(what: &'static str, source: std::io::Error) -> ActivateError {
    ActivateError::Host { what, source }
}

impl Active for VhostUserActive {
    fn pause(&mut self) {
        {
            let mut state = self.rest.state();
            if *state != RestState::Idle {
                // The last pause was revoked, and is still under way.
                *state = RestState::Stopping;
                return;
            }
            *state = RestState::Stopping;
        }
        let (rest, work) = (self.rest.clone(), self.work.clone());
        let thread = ThreadSpec::new(ThreadRole::Helper, format!("{}-rest", self.name));
        let thread = thread.stack_size(STACK).spawn(move || rest.run(&work));
        if thread.is_err() {
            self.rest.run(&self.work);
        }
    }

    fn wait_paused(&mut self) {
        self.rest.wait(None);
        self.forwarder.flush();
    }

    /// The driver has all its interrupts then.
    fn wait_paused_until(&mut self, deadline: Instant) -> bool {
        let is_at_rest = self.rest.wait(Some(deadline));
        if is_at_rest {
            self.forwarder.flush();
        }
        is_at_rest
    }

    fn resume(&mut self) {
        {
            let mut state = self.rest.state();
            if *state != RestState::Idle {
                *state = RestState::Revoked;
                return;
            }
        }
        // Whoever resumes waits: a back end that does not answer is lost, and the guest runs on.
        self.work.back_end.hurry();
        let mut rings = self.work.rings();
        rings.is_paused = false;
        self.work.start_all(&mut rings, RESUME_LIMIT);
    }

    fn disable_queue(&mut self, index: u16) {
        let removed = self.work.remove(&mut self.work.rings(), index);
        if let Some(ring) = removed {
            self.forwarder.remove(&ring.line);
        }
    }

    fn enable_queue(&mut self, queue: Queue) {
        let mut rings = self.work.rings();
        if let Err(error) = self.add(&mut rings, queue) {
            return self.work.fault.report(error_line(&error));
        }
        if !rings.is_paused {
            self.work.start_all(&mut rings, LIMIT);
        }
    }

    fn queue_states(&mut self) -> Vec<(u16, QueueState)> {
        let rings = self.work.rings();
        let state = |ring: &Ring| (ring.queue.index(), ring.state());
        rings.list.iter().map(state).collect()
    }
}

impl Drop for VhostUserActive {
    fn drop(&mut self) {
        self.work.end();
        self.forwarder.flush();
    }
}
