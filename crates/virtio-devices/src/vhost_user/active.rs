//! The device while a driver runs it.

use std::os::fd::AsFd;
use std::sync::Arc;

use vmmkit_guest_memory::GuestAddress;
use vmmkit_virtio::{ActivateError, Activation, Active, Fault, Queue, QueueState};

use super::Config;
use super::back_end::BackEnd;
use super::error::{VhostUserError, sentence};
use super::forward::{Forwarder, Line};

/// Where the index is in a used ring (virtio 1.2, section 2.7.8).
const USED_INDEX: u64 = 2;

/// A device at work in another process.
#[derive(Debug)]
pub(super) struct VhostUserActive {
    back_end: Arc<BackEnd>,
    fault: Arc<Fault>,
    forwarder: Forwarder,
    rings: Vec<Ring>,
    is_paused: bool,
}

/// A queue that the back end has, or will have.
#[derive(Debug)]
struct Ring {
    queue: Queue,
    line: Arc<Line>,
    /// The available entry that comes next; of meaning while it does not run.
    base: u16,
    is_running: bool,
}

impl VhostUserActive {
    pub(super) fn start(
        back_end: Arc<BackEnd>,
        config: Arc<Config>,
        mut activation: Activation,
    ) -> Result<Self, ActivateError> {
        let other = |error: VhostUserError| ActivateError::Other(sentence(&error));
        back_end
            .set_up(activation.features, &activation.ram)
            .map_err(other)?;
        let name = format!("virtio-{}", activation.name);
        let fault = activation.fault.clone();
        let forwarder = Forwarder::start(name, back_end.clone(), config, fault.clone())
            .map_err(|source| host("starting a thread", source))?;
        let mut active = Self {
            back_end,
            fault,
            forwarder,
            rings: Vec::new(),
            is_paused: false,
        };
        let indices: Vec<u16> = activation.queues.iter().map(Queue::index).collect();
        for index in indices {
            if let Some(queue) = activation.queues.remove(index) {
                active.add(queue)?;
            }
        }
        for ring in &mut active.rings {
            ring.start(&active.back_end).map_err(other)?;
        }
        active.back_end.settle().map_err(other)?;
        // Not earlier: the error of a message says more than the end.
        let watched = active.forwarder.watch();
        watched.map_err(|source| host("watching the back end", source))?;
        Ok(active)
    }

    fn add(&mut self, queue: Queue) -> Result<(), ActivateError> {
        let line = self
            .forwarder
            .add(&queue)
            .map_err(|source| host("making an eventfd", source))?;
        self.rings.push(Ring {
            base: queue.state().next_available,
            queue,
            line,
            is_running: false,
        });
        Ok(())
    }

    /// Makes the back end let go of every queue; the driver has all its interrupts then.
    fn stop_all(&mut self) {
        for ring in &mut self.rings {
            if let Err(error) = ring.stop(&self.back_end) {
                give_up(&self.fault, &self.back_end, &error);
            }
        }
        self.forwarder.flush();
    }
}

fn host(what: &'static str, source: std::io::Error) -> ActivateError {
    ActivateError::Host { what, source }
}

/// The driver sees that the device needs a reset, and the back end that it is not wanted any more.
/// What a back end that is gone does not do is no news.
fn give_up(fault: &Fault, back_end: &BackEnd, error: &VhostUserError) {
    if !matches!(error, VhostUserError::Gone { .. }) {
        fault.report(sentence(error));
    }
    back_end.hang_up();
}

impl Ring {
    fn start(&mut self, back_end: &BackEnd) -> Result<(), VhostUserError> {
        let (call, error) = (self.line.call.as_fd(), self.line.error.as_fd());
        // Also one that failed half-way is to be stopped.
        self.is_running = true;
        back_end.start_queue(&self.queue, self.base, call, error)
    }

    fn stop(&mut self, back_end: &BackEnd) -> Result<(), VhostUserError> {
        if !self.is_running {
            return Ok(());
        }
        self.is_running = false;
        // What was used is all that is known of a ring whose back end is gone.
        self.base = self.used();
        self.base = back_end.stop_queue(self.queue.index())?;
        Ok(())
    }

    /// How many chains were used, as the driver sees it.
    fn used(&self) -> u16 {
        let used = self.queue.state().layout.used;
        let index = self.queue.ram().read(GuestAddress(used + USED_INDEX));
        index.unwrap_or(self.base)
    }

    fn state(&self) -> QueueState {
        QueueState {
            layout: self.queue.state().layout,
            next_available: self.base,
            next_used: self.used(),
        }
    }
}

impl Active for VhostUserActive {
    fn pause(&mut self) {
        self.is_paused = true;
    }

    fn wait_paused(&mut self) {
        if self.is_paused {
            self.stop_all();
        }
    }

    fn resume(&mut self) {
        self.is_paused = false;
        for ring in self.rings.iter_mut().filter(|ring| !ring.is_running) {
            if let Err(error) = ring.start(&self.back_end) {
                return give_up(&self.fault, &self.back_end, &error);
            }
        }
    }

    fn disable_queue(&mut self, index: u16) {
        let place = |ring: &Ring| ring.queue.index() == index;
        let Some(place) = self.rings.iter().position(place) else {
            return;
        };
        let mut ring = self.rings.remove(place);
        let stopped = ring
            .stop(&self.back_end)
            .and_then(|()| self.back_end.enable(index, false));
        if let Err(error) = stopped {
            give_up(&self.fault, &self.back_end, &error);
        }
        self.forwarder.remove(&ring.line);
    }

    fn enable_queue(&mut self, queue: Queue) {
        if let Err(error) = self.add(queue) {
            return self.fault.report(sentence(&error));
        }
        let ring = self.rings.last_mut().filter(|_| !self.is_paused);
        if let Some(Err(error)) = ring.map(|ring| ring.start(&self.back_end)) {
            give_up(&self.fault, &self.back_end, &error);
        }
    }

    fn queue_states(&mut self) -> Vec<(u16, QueueState)> {
        let state = |ring: &Ring| (ring.queue.index(), ring.state());
        self.rings.iter().map(state).collect()
    }
}

impl Drop for VhostUserActive {
    fn drop(&mut self) {
        self.stop_all();
        for ring in &self.rings {
            // A back end that is gone has let go of everything.
            let _ = self.back_end.enable(ring.queue.index(), false);
        }
    }
}
