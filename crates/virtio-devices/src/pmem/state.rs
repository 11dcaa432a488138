//! The saved form of persistent memory, besides its transport and its queue: its size alone. What it holds is
//! the host's.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm, StateReason};

use super::Pmem;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PmemForm {
    /// In bytes; the file of the machine that restores must have the same.
    size: u64,
}

impl StateForm for PmemForm {
    const KIND: &'static str = "virtio-pmem";
    const VERSION: u32 = 1;
}

impl SaveState for Pmem {
    fn save_state(&self) -> Result<SavedState, StateError> {
        SavedState::new(&PmemForm {
            size: self.memory.size(),
        })
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let form: PmemForm = saved.read()?;
        let here = self.memory.size();
        if form.size == here {
            return Ok(());
        }
        let here = here.to_string().into();
        let reason = StateReason::Differs { here };
        Err(StateError::field(PmemForm::KIND, "size", form.size, reason))
    }
}
