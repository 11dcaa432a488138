//! The saved form of the clock and its RAM.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm, StateReason};

use super::spec::SIZE;
use super::{Cmos, CmosState};

/// All that the guest can see. Its time goes on with the owner's while it is saved.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CmosForm {
    index: u8,
    /// All 128.
    registers: Vec<u8>,
    /// The seconds that the guest's time is ahead of the owner's.
    offset_seconds: i64,
}

impl StateForm for CmosForm {
    const KIND: &'static str = "cmos";
    const VERSION: u32 = 1;
}

impl SaveState for Cmos {
    fn save_state(&self) -> Result<SavedState, StateError> {
        let state = self.state();
        SavedState::new(&CmosForm {
            index: state.index,
            registers: state.registers.to_vec(),
            offset_seconds: state.offset,
        })
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let form: CmosForm = saved.read()?;
        let size = SIZE as u64;
        let registers = form.registers.try_into().map_err(|registers: Vec<u8>| {
            let reason = StateReason::OutOfRange {
                min: size,
                max: size,
            };
            StateError::field(CmosForm::KIND, "registers.length", registers.len(), reason)
        })?;
        self.restore(CmosState {
            index: form.index,
            registers,
            offset: form.offset_seconds,
        });
        Ok(())
    }
}
