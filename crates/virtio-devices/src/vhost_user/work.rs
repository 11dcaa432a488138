//! The queues that a back end has, or will have once it is back.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use vmmkit_guest_memory::{GuestAddress, GuestRam};
use vmmkit_host_io::EventFd;
use vmmkit_telemetry::error_line;
use vmmkit_virtio::{Fault, Queue, QueueState};

use super::Config;
use super::back_end::BackEnd;
use super::error::VhostUserError;
use super::line::Line;

/// Where the index is in a used ring (virtio 1.2, section 2.7.8).
const USED_INDEX: u64 = 2;

/// The work of a back end, which begins again when it was lost.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) back_end: Arc<BackEnd>,
    pub(super) config: Arc<Config>,
    pub(super) fault: Arc<Fault>,
    features: u64,
    ram: GuestRam,
    /// Raised when the back end was lost.
    pub(super) lost: EventFd,
    rings: Mutex<Rings>,
}

/// The queues, and whether the back end may have them.
#[derive(Debug, Default)]
pub(super) struct Rings {
    pub(super) list: Vec<Ring>,
    pub(super) is_paused: bool,
    /// There is no back end; the reason that was told last.
    lost: Option<String>,
    /// The driver has let go of the device.
    is_ending: bool,
}

/// A queue that the back end has, or will have.
#[derive(Debug)]
pub(super) struct Ring {
    pub(super) queue: Queue,
    pub(super) line: Arc<Line>,
    /// The available entry that comes next; of meaning while it does not run.
    base: u16,
    is_running: bool,
}

impl Work {
    pub(super) fn new(
        back_end: Arc<BackEnd>,
        config: Arc<Config>,
        fault: Arc<Fault>,
        features: u64,
        ram: GuestRam,
    ) -> std::io::Result<Self> {
        Ok(Self {
            back_end,
            config,
            fault,
            features,
            ram,
            lost: EventFd::new()?,
            rings: Mutex::default(),
        })
    }

    /// Gives the back end what the driver set up, for the first time. One that is gone is waited for.
    pub(super) fn begin(&self) -> Result<(), VhostUserError> {
        let mut rings = self.rings();
        self.back_end.allow();
        match self.back_end.set_up(self.features, &self.ram) {
            Ok(()) => {}
            Err(error @ (VhostUserError::Gone { .. } | VhostUserError::Broken { .. })) => {
                self.lose(&mut rings, &error);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        for ring in &mut rings.list {
            ring.start(&self.back_end)?;
        }
        self.back_end.settle()
    }

    /// The back end does not do what it should, or is gone. Its queues stay as they are until one is
    /// there again; the driver does not notice but by waiting.
    pub(super) fn lose(&self, rings: &mut Rings, error: &VhostUserError) {
        self.back_end.hang_up();
        for ring in &mut rings.list {
            ring.leave();
        }
        self.lost.notify();
        let reason = error_line(error);
        // Who was lost before the driver was ready was told of then.
        let is_old = matches!(error, VhostUserError::Gone { .. });
        if rings.lost.as_ref() != Some(&reason) && !rings.is_ending && !is_old {
            self.fault.lost(reason.clone());
        }
        rings.lost = Some(reason);
    }

    /// The connection has ended.
    pub(super) fn hung_up(&self) {
        let mut rings = self.rings();
        if rings.lost.is_none() {
            let path = self.back_end.path().into();
            self.lose(&mut rings, &VhostUserError::HungUp { path });
        }
    }

    /// Looks for a back end in place of the one that was lost; whether there is one, and it has the
    /// queues.
    pub(super) fn revive(&self) -> bool {
        {
            let rings = self.rings();
            if rings.lost.is_none() || rings.is_ending {
                return true;
            }
            self.back_end.allow();
        }
        // Not locked: one that is silent holds up nobody else.
        let found = self.back_end.reconnect();
        let found = found.and_then(|()| self.config.compare(&self.back_end));
        let mut rings = self.rings();
        let set_up = found.and_then(|()| self.set_up_again(&mut rings));
        match set_up {
            Ok(()) => {
                rings.lost = None;
                self.fault.back();
                true
            }
            Err(error) => {
                self.back_end.hang_up();
                for ring in &mut rings.list {
                    ring.leave();
                }
                // That nobody is there yet is not news.
                if matches!(error, VhostUserError::Changed { .. }) {
                    self.lose(&mut rings, &error);
                }
                false
            }
        }
    }

    fn set_up_again(&self, rings: &mut Rings) -> Result<(), VhostUserError> {
        self.back_end.allow();
        self.back_end.set_up(self.features, &self.ram)?;
        if !rings.is_paused && !rings.is_ending {
            for ring in &mut rings.list {
                ring.start(&self.back_end)?;
            }
        }
        self.back_end.settle()
    }

    /// Makes the back end let go of every queue.
    pub(super) fn stop_all(&self, rings: &mut Rings) {
        self.back_end.allow();
        let stopped = rings
            .list
            .iter_mut()
            .try_for_each(|ring| ring.stop(&self.back_end));
        if let Err(error) = stopped {
            self.lose(rings, &error);
        }
    }

    /// The back end has its queues again, unless it is not there: then it gets them when it is.
    /// It may take `limit`, and is lost otherwise.
    pub(super) fn start_all(&self, rings: &mut Rings, limit: Duration) {
        if rings.lost.is_some() {
            return;
        }
        self.back_end.allow_for(limit);
        let mut resting = rings.list.iter_mut().filter(|ring| !ring.is_running);
        if let Err(error) = resting.try_for_each(|ring| ring.start(&self.back_end)) {
            self.lose(rings, &error);
        }
    }

    /// Makes the back end let go of a queue for good.
    pub(super) fn remove(&self, rings: &mut Rings, index: u16) -> Option<Ring> {
        let place = |ring: &Ring| ring.queue.index() == index;
        let place = rings.list.iter().position(place)?;
        let mut ring = rings.list.remove(place);
        if rings.lost.is_none() {
            self.back_end.allow();
            let stopped = ring
                .stop(&self.back_end)
                .and_then(|()| self.back_end.enable(index, false));
            if let Err(error) = stopped {
                self.lose(rings, &error);
            }
        }
        Some(ring)
    }

    /// The driver lets go of the device.
    pub(super) fn end(&self) {
        let mut rings = self.rings();
        rings.is_ending = true;
        if rings.lost.is_some() {
            // Nobody waits for a new one any more.
            self.back_end.give_up();
            return;
        }
        self.stop_all(&mut rings);
        for ring in &rings.list {
            // A back end that is gone has let go of everything.
            let _ = self.back_end.enable(ring.queue.index(), false);
        }
    }

    pub(super) fn rings(&self) -> MutexGuard<'_, Rings> {
        self.rings.lock()
    }
}

impl Ring {
    pub(super) fn new(queue: Queue, line: Arc<Line>) -> Self {
        Self {
            base: queue.state().next_available,
            queue,
            line,
            is_running: false,
        }
    }

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
        self.leave();
        self.base = back_end.stop_queue(self.queue.index())?;
        Ok(())
    }

    /// Its back end is gone: what was used is all that is known, and whoever comes next does again
    /// what was under way.
    fn leave(&mut self) {
        if std::mem::take(&mut self.is_running) {
            self.base = self.used();
        }
    }

    /// How many chains were used, as the driver sees it.
    fn used(&self) -> u16 {
        let used = self.queue.state().layout.used;
        let index = self.queue.ram().read(GuestAddress(used + USED_INDEX));
        index.unwrap_or(self.base)
    }

    pub(super) fn state(&self) -> QueueState {
        QueueState {
            layout: self.queue.state().layout,
            next_available: self.base,
            next_used: self.used(),
        }
    }
}
