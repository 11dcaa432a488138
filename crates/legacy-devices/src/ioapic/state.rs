//! The saved form of the I/O APIC.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm};

use super::spec::{ID_MASK, PINS, REMOTE_IRR, WRITABLE};
use super::{Ioapic, IoapicState};

/// All that the guest can see, and the levels of the lines.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IoapicForm {
    select: u8,
    id: u32,
    redirection_table: [u64; PINS as usize],
    /// A bit for each pin whose line is high.
    levels: u32,
}

impl StateForm for IoapicForm {
    const KIND: &'static str = "ioapic";
    const VERSION: u32 = 1;
}

impl SaveState for Ioapic {
    fn save_state(&self) -> Result<SavedState, StateError> {
        let state = self.state();
        SavedState::new(&IoapicForm {
            select: state.select,
            id: state.id,
            redirection_table: state.table,
            levels: state.levels,
        })
    }

    /// Restore it after the devices: the levels of their lines are in its state.
    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let form: IoapicForm = saved.read()?;
        let bits = |field: &str, value: u64, allowed: u64| {
            StateError::check_bits(IoapicForm::KIND, field, value, allowed)
        };
        bits("id", form.id.into(), ID_MASK.into())?;
        bits("levels", form.levels.into(), (1 << PINS) - 1)?;
        for (pin, entry) in form.redirection_table.iter().enumerate() {
            let field = format!("redirection_table[{pin}]");
            bits(&field, *entry, WRITABLE | REMOTE_IRR)?;
        }
        self.restore(IoapicState {
            select: form.select,
            id: form.id,
            table: form.redirection_table,
            levels: form.levels,
        });
        Ok(())
    }
}
