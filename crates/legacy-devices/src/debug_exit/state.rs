//! The saved forms of the ports for tests and early boot.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm};

use super::spec::{REFRESH, SYSTEM_CONTROL_B_KEPT};
use super::{DebugConsole, DebugExit, PostCode, SystemControlB};

const DEBUG_EXIT: &str = "debug-exit";
const DEBUG_CONSOLE: &str = "debug-console";

/// The last POST code written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PostCodeForm {
    code: u8,
}

impl StateForm for PostCodeForm {
    const KIND: &'static str = "post-code";
    const VERSION: u32 = 1;
}

/// The register without timer 2's output.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SystemControlBForm {
    value: u8,
}

impl StateForm for SystemControlBForm {
    const KIND: &'static str = "system-control-b";
    const VERSION: u32 = 1;
}

impl SaveState for PostCode {
    fn save_state(&self) -> Result<SavedState, StateError> {
        SavedState::new(&PostCodeForm { code: self.state() })
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let PostCodeForm { code } = saved.read()?;
        self.restore(code);
        Ok(())
    }
}

impl SaveState for SystemControlB {
    fn save_state(&self) -> Result<SavedState, StateError> {
        SavedState::new(&SystemControlBForm {
            value: self.state(),
        })
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let SystemControlBForm { value } = saved.read()?;
        let allowed = SYSTEM_CONTROL_B_KEPT | REFRESH;
        StateError::check_bits(SystemControlBForm::KIND, "value", value, allowed)?;
        self.restore(value);
        Ok(())
    }
}

impl SaveState for DebugExit {
    fn save_state(&self) -> Result<SavedState, StateError> {
        Ok(SavedState::empty(DEBUG_EXIT))
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        saved.read_empty(DEBUG_EXIT)
    }
}

impl SaveState for DebugConsole {
    fn save_state(&self) -> Result<SavedState, StateError> {
        Ok(SavedState::empty(DEBUG_CONSOLE))
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        saved.read_empty(DEBUG_CONSOLE)
    }
}
