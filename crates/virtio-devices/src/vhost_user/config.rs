//! The configuration space, which the driver reads here and the back end may have.

use std::ops::Range;

use parking_lot::{Mutex, MutexGuard};
use vmmkit_virtio::ConfigChange;

use super::back_end::BackEnd;
use super::error::VhostUserError;

/// A configuration space. Reading it does not wait for the back end.
#[derive(Debug, Default)]
pub(super) struct Config {
    bytes: Mutex<Vec<u8>>,
    /// Whether the bytes are the back end's.
    is_remote: bool,
    /// Bytes that stand whatever the back end says, and where.
    fixed: Option<(usize, [u8; 2])>,
    /// The bytes that the driver may write; the back end has them then.
    writable: Range<usize>,
    change: Mutex<Option<ConfigChange>>,
}

impl Config {
    /// One that never changes.
    pub(super) fn constant(bytes: Vec<u8>) -> Self {
        Self {
            bytes: Mutex::new(bytes),
            ..Self::default()
        }
    }

    /// The back end's first `length` bytes, but with `fixed` in them where it is given, of which the
    /// driver may write `writable`.
    pub(super) fn of(
        back_end: &BackEnd,
        length: usize,
        fixed: Option<(usize, [u8; 2])>,
        writable: Range<usize>,
    ) -> Result<Self, VhostUserError> {
        let config = Self {
            bytes: Mutex::new(vec![0; length]),
            is_remote: true,
            fixed,
            writable,
            change: Mutex::default(),
        };
        config.load(back_end)?;
        Ok(config)
    }

    pub(super) fn connect(&self, change: ConfigChange) {
        *self.change() = Some(change);
    }

    pub(super) fn read(&self, offset: usize, bytes: &mut [u8]) {
        for (byte, value) in bytes.iter_mut().zip(self.bytes().iter().skip(offset)) {
            *byte = *value;
        }
    }

    /// A write of the driver; ignored where it may not write, as by a refusing back end.
    pub(super) fn write(&self, back_end: &BackEnd, offset: usize, bytes: &[u8]) {
        let end = offset.saturating_add(bytes.len());
        let is_allowed = offset >= self.writable.start && end <= self.writable.end;
        back_end.allow();
        if is_allowed && !bytes.is_empty() && back_end.set_config(offset, bytes).is_ok() {
            let _ = self.load(back_end);
        }
    }

    /// The back end says that it has changed: so does the driver's.
    pub(super) fn refresh(&self, back_end: &BackEnd) {
        back_end.allow();
        // A back end that is gone meanwhile is told of elsewhere.
        if self.load(back_end).is_ok_and(|is_new| is_new)
            && let Some(change) = &*self.change()
        {
            change.notify();
        }
    }

    /// Whether a back end that took the place of another has the same configuration, but for what the
    /// driver may write, which it is told.
    ///
    /// # Errors
    /// [`VhostUserError::Changed`] where it has not.
    pub(super) fn compare(&self, back_end: &BackEnd) -> Result<(), VhostUserError> {
        let ours = self.bytes().clone();
        if !self.is_remote {
            return Ok(());
        }
        let theirs = self.fetch(back_end, ours.len())?;
        let differs = |at: &usize| ours.get(*at) != theirs.get(*at) && !self.writable.contains(at);
        if let Some(at) = (0..ours.len()).find(differs) {
            return Err(VhostUserError::Changed {
                path: back_end.path().into(),
                found: format!("byte {at} of its configuration differs"),
            });
        }
        match ours.get(self.writable.clone()) {
            Some(written) if theirs.get(self.writable.clone()) != Some(written) => {
                back_end.set_config(self.writable.start, written)
            }
            _ => Ok(()),
        }
    }

    /// Takes the back end's; whether it is another. A back end that says without end that it has
    /// changed does not interrupt the driver without end.
    fn load(&self, back_end: &BackEnd) -> Result<bool, VhostUserError> {
        let length = self.bytes().len();
        let new = self.fetch(back_end, length)?;
        let old = std::mem::replace(&mut *self.bytes(), new.clone());
        Ok(old != new)
    }

    fn fetch(&self, back_end: &BackEnd, length: usize) -> Result<Vec<u8>, VhostUserError> {
        let mut bytes = back_end.config(length)?;
        if let Some((offset, fixed)) = self.fixed {
            let place = bytes.iter_mut().skip(offset);
            place.zip(fixed).for_each(|(byte, value)| *byte = value);
        }
        Ok(bytes)
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock()
    }

    fn change(&self) -> MutexGuard<'_, Option<ConfigChange>> {
        self.change.lock()
    }
}
