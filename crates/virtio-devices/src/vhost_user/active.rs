//! The device while a driver runs it.

use std::sync::Arc;

use vmmkit_virtio::{ActivateError, Activation, Active, Queue, QueueState};

use super::Config;
use super::back_end::BackEnd;
use super::error::sentence;
use super::forward::Forwarder;
use super::work::{Ring, Rings, Work};

/// A device at work in another process.
#[derive(Debug)]
pub(super) struct VhostUserActive {
    work: Arc<Work>,
    forwarder: Forwarder,
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
        let name = format!("virtio-{}", activation.name);
        let forwarder = Forwarder::start(name, work.clone())
            .map_err(|source| host("starting a thread", source))?;
        let active = Self { work, forwarder };
        let indices: Vec<u16> = activation.queues.iter().map(Queue::index).collect();
        for index in indices {
            if let Some(queue) = activation.queues.remove(index) {
                active.add(&mut active.work.rings(), queue)?;
            }
        }
        let begun = active.work.begin();
        begun.map_err(|error| ActivateError::Other(sentence(&error)))?;
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
        self.work.rings().is_paused = true;
    }

    /// The driver has all its interrupts then.
    fn wait_paused(&mut self) {
        let mut rings = self.work.rings();
        if rings.is_paused {
            self.work.stop_all(&mut rings);
            self.forwarder.flush();
        }
    }

    fn resume(&mut self) {
        let mut rings = self.work.rings();
        rings.is_paused = false;
        self.work.start_all(&mut rings);
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
            return self.work.fault.report(sentence(&error));
        }
        if !rings.is_paused {
            self.work.start_all(&mut rings);
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
