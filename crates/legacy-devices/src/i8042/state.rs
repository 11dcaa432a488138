//! The saved form of the keyboard controller.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm};

use super::spec::QUEUE;
use super::{I8042, I8042State};

/// All that the guest can see of the controller and its keyboard.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct I8042Form {
    control: u8,
    last_was_command: bool,
    command: u8,
    answer: Option<u8>,
    keys: Vec<u8>,
    keyboard_command: u8,
    scanning: bool,
}

impl StateForm for I8042Form {
    const KIND: &'static str = "i8042";
    const VERSION: u32 = 1;
}

impl SaveState for I8042 {
    fn save_state(&self) -> Result<SavedState, StateError> {
        let state = self.state();
        SavedState::new(&I8042Form {
            control: state.control,
            last_was_command: state.last_was_command,
            command: state.command,
            answer: state.answer,
            keys: state.keys.into(),
            keyboard_command: state.keyboard_command,
            scanning: state.scanning,
        })
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let form: I8042Form = saved.read()?;
        let keys = form.keys.len() as u64;
        StateError::check_max(I8042Form::KIND, "keys.length", keys, QUEUE as u64)?;
        self.restore(I8042State {
            control: form.control,
            last_was_command: form.last_was_command,
            command: form.command,
            answer: form.answer,
            keys: form.keys.into(),
            keyboard_command: form.keyboard_command,
            scanning: form.scanning,
        });
        Ok(())
    }
}
