//! The saved form of a socket device, which keeps nothing: connections are the host's.

use std::sync::atomic::Ordering;

use vmmkit_device_bus::{SaveState, SavedState, StateError};

use super::Vsock;

const KIND: &str = "virtio-vsock";

impl SaveState for Vsock {
    fn save_state(&self) -> Result<SavedState, StateError> {
        Ok(SavedState::empty(KIND))
    }

    /// The guest's connections are gone, and it is told so by VIRTIO_VSOCK_EVENT_TRANSPORT_RESET
    /// (5.10.6.7). It then reads its CID again, which may be another.
    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        saved.read_empty(KIND)?;
        // Ordering: the device is activated later, by a lock.
        self.is_transport_reset.store(true, Ordering::Relaxed);
        Ok(())
    }
}
