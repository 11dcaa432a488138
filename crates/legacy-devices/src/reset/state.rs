//! The saved form of the reset registers.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm};

use super::spec::{FAST_RESET, RESET_KIND};
use super::{ResetControl, ResetState};

/// All that the guest can see.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResetForm {
    control: u8,
    system_control_a: u8,
}

impl StateForm for ResetForm {
    const KIND: &'static str = "reset-control";
    const VERSION: u32 = 1;
}

impl SaveState for ResetControl {
    fn save_state(&self) -> Result<SavedState, StateError> {
        let ResetState {
            control,
            system_control_a,
        } = self.state();
        SavedState::new(&ResetForm {
            control,
            system_control_a,
        })
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let ResetForm {
            control,
            system_control_a,
        } = saved.read()?;
        let bits =
            |field, value: u8, all: u8| StateError::check_bits(ResetForm::KIND, field, value, all);
        bits("control", control, RESET_KIND)?;
        bits("system_control_a", system_control_a, !FAST_RESET)?;
        self.restore(ResetState {
            control,
            system_control_a,
        });
        Ok(())
    }
}
