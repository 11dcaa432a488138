//! The saved forms of vm-superio's devices.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm, StateReason};

use super::serial::FullFifo;
use super::{SuperioI8042, SuperioSerial, SuperioSerialState};

/// The bytes that vm-superio's FIFO has room for.
const FIFO_BYTES: u64 = 64;

/// vm-superio's own state struct, field by field.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SerialForm {
    baud_divisor_low: u8,
    baud_divisor_high: u8,
    interrupt_enable: u8,
    interrupt_identification: u8,
    line_control: u8,
    line_status: u8,
    modem_control: u8,
    modem_status: u8,
    scratch: u8,
    in_buffer: Vec<u8>,
}

impl StateForm for SerialForm {
    const KIND: &'static str = "serial-superio";
    const VERSION: u32 = 1;
}

impl SaveState for SuperioSerial {
    fn save_state(&self) -> Result<SavedState, StateError> {
        let state = self.state();
        SavedState::new(&SerialForm {
            baud_divisor_low: state.baud_divisor_low,
            baud_divisor_high: state.baud_divisor_high,
            interrupt_enable: state.interrupt_enable,
            interrupt_identification: state.interrupt_identification,
            line_control: state.line_control,
            line_status: state.line_status,
            modem_control: state.modem_control,
            modem_status: state.modem_status,
            scratch: state.scratch,
            in_buffer: state.in_buffer,
        })
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let form: SerialForm = saved.read()?;
        let length = form.in_buffer.len();
        let state = SuperioSerialState {
            baud_divisor_low: form.baud_divisor_low,
            baud_divisor_high: form.baud_divisor_high,
            interrupt_enable: form.interrupt_enable,
            interrupt_identification: form.interrupt_identification,
            line_control: form.line_control,
            line_status: form.line_status,
            modem_control: form.modem_control,
            modem_status: form.modem_status,
            scratch: form.scratch,
            in_buffer: form.in_buffer,
        };
        self.go_to(&state).map_err(|FullFifo| {
            let reason = StateReason::OutOfRange {
                min: 0,
                max: FIFO_BYTES,
            };
            StateError::field(SerialForm::KIND, "in_buffer.length", length, reason)
        })
    }
}

/// The kind of the controller's form. It has no state.
const I8042_KIND: &str = "i8042-superio";

impl SaveState for SuperioI8042 {
    fn save_state(&self) -> Result<SavedState, StateError> {
        Ok(SavedState::empty(I8042_KIND))
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        saved.read_empty(I8042_KIND)
    }
}
