//! The saved form of the power management block.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm};

use super::spec::{CONTROL_BUS_MASTER_RELOAD, CONTROL_SCI_ENABLE, CONTROL_SLEEP_TYPE, EVENTS};
use super::{AcpiPm, AcpiPmState, Block};

/// The registers, and the time that the timer shows.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AcpiPmForm {
    status: u16,
    enable: u16,
    control: u16,
    /// Nanoseconds since the timer was 0. It stands still while it is saved.
    timer_ns: u64,
}

impl StateForm for AcpiPmForm {
    const KIND: &'static str = "acpi-pm";
    const VERSION: u32 = 1;
}

impl SaveState for AcpiPm {
    fn save_state(&self) -> Result<SavedState, StateError> {
        let timer_ns = self.timer_ns();
        let state = self.state();
        SavedState::new(&AcpiPmForm {
            status: state.status,
            enable: state.enable,
            control: state.control,
            timer_ns,
        })
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let form: AcpiPmForm = saved.read()?;
        let bits = |field, value: u16, all: u16| {
            StateError::check_bits(AcpiPmForm::KIND, field, value, all)
        };
        bits("status", form.status, EVENTS)?;
        bits("enable", form.enable, EVENTS)?;
        let control = CONTROL_BUS_MASTER_RELOAD | CONTROL_SLEEP_TYPE | CONTROL_SCI_ENABLE;
        bits("control", form.control, control)?;
        let now = (self.clock)();
        self.inner.lock().ahead_ns = form.timer_ns.wrapping_sub(now);
        let state = AcpiPmState {
            status: form.status,
            enable: form.enable,
            control: form.control,
        };
        self.change(|block| *block = Block::from_state(state));
        Ok(())
    }
}
