//! Requests to a device, and their answers.

use std::time::{Duration, Instant};

use super::rings::Ring;
use super::{Driver, DriverError};
use crate::spec::mmio;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(30);

impl Driver {
    /// Makes a chain available: buffers with these contents to read, and buffers of these sizes to
    /// write. Returns its number, by which it comes back.
    ///
    /// # Errors
    /// [`DriverError::Queue`] where the queue has no room.
    pub fn add(
        &mut self,
        queue: u16,
        readable: &[&[u8]],
        writable: &[usize],
    ) -> Result<u16, DriverError> {
        self.rings
            .get_mut(usize::from(queue))
            .and_then(|ring| ring.add(readable, writable))
            .ok_or(DriverError::Queue(queue))
    }

    /// Kicks the device if it wants that.
    pub fn kick(&mut self, queue: u16) {
        let wants = self
            .rings
            .get_mut(usize::from(queue))
            .is_some_and(Ring::publish);
        if wants {
            self.write(mmio::QUEUE_NOTIFY, queue.into());
        }
    }

    /// Takes the next chain that was used, if there is one: its number and its bytes.
    pub fn used(&mut self, queue: u16) -> Option<(u16, Vec<u8>)> {
        self.rings.get_mut(usize::from(queue))?.used()
    }

    /// Waits for the next chain that was used.
    ///
    /// # Errors
    /// [`DriverError::NoAnswer`] after 30 seconds, [`DriverError::NeedsReset`] before that.
    pub fn wait(&mut self, queue: u16) -> Result<(u16, Vec<u8>), DriverError> {
        self.wait_for(queue, LIMIT)?
            .ok_or(DriverError::NoAnswer(queue))
    }

    /// Waits for the next chain that was used, at most for `limit`.
    ///
    /// # Errors
    /// [`DriverError::NeedsReset`].
    pub fn wait_for(
        &mut self,
        queue: u16,
        limit: Duration,
    ) -> Result<Option<(u16, Vec<u8>)>, DriverError> {
        let deadline = Instant::now() + limit;
        loop {
            let seen = self.bell.count();
            if let Some(used) = self.used(queue) {
                return Ok(Some(used));
            }
            self.check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.bell.wait(seen, left);
        }
    }

    /// Sends one request and waits for its answer: the bytes that the device wrote.
    ///
    /// # Errors
    /// See [`add`](Self::add) and [`wait`](Self::wait).
    pub fn request(
        &mut self,
        queue: u16,
        readable: &[&[u8]],
        writable: &[usize],
    ) -> Result<Vec<u8>, DriverError> {
        self.add(queue, readable, writable)?;
        self.kick(queue);
        Ok(self.wait(queue)?.1)
    }
}
