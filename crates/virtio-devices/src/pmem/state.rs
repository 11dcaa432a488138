//! The saved form of persistent memory, besides its transport and its queue: its size alone. What it holds is
//! the host's.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm};

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
        StateError::check_same(PmemForm::KIND, "size", form.size, self.memory.size())
    }
}
