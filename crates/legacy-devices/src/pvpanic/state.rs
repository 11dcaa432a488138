//! The saved form of the pvpanic port, which has no state.

use vmmkit_device_bus::{SaveState, SavedState, StateError};

use super::Pvpanic;

const KIND: &str = "pvpanic";

impl SaveState for Pvpanic {
    fn save_state(&self) -> Result<SavedState, StateError> {
        Ok(SavedState::empty(KIND))
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        saved.read_empty(KIND)
    }
}
