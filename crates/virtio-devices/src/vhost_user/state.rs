//! Why a device of another process is not saved.

use vmmkit_device_bus::{SaveState, SavedState, StateError, StateReason};

use super::VhostUser;

impl VhostUser {
    fn unsaved(&self) -> StateError {
        let reason = "its back end, another process, has state of its own";
        StateError::whole(self.kind.name(), StateReason::CannotBeSaved(reason))
    }
}

impl SaveState for VhostUser {
    /// # Errors
    /// Always: the protocol's messages for that (VHOST_USER_PROTOCOL_F_DEVICE_STATE) are not used.
    fn save_state(&self) -> Result<SavedState, StateError> {
        Err(self.unsaved())
    }

    fn restore_state(&self, _: &SavedState) -> Result<(), StateError> {
        Err(self.unsaved())
    }
}
