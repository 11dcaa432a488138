//! The saved form of a serial port.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm};

use super::spec::{FCR_ENABLE, FCR_KEPT, FIFO_SIZE, IER_MASK, LSR_ERRORS, MCR_MASK};
use super::uart::POLLS;
use super::{SerialPort, SerialState};

/// All that the guest can see of the port, and the bytes on their way in either direction.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SerialForm {
    interrupt_enable: u8,
    fifo_control: u8,
    line_control: u8,
    modem_control: u8,
    modem_status: u8,
    scratch: u8,
    divisor: u16,
    line_errors: u8,
    received: Vec<ReceivedByte>,
    unsent: Vec<u8>,
    thr_empty_pending: bool,
    polls: u8,
}

/// A byte that the guest has not read, with the error bits that it brings to LSR.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceivedByte {
    byte: u8,
    errors: u8,
}

impl StateForm for SerialForm {
    const KIND: &'static str = "serial-16550a";
    const VERSION: u32 = 1;
}

impl SerialForm {
    fn check(&self) -> Result<(), StateError> {
        let bits = |field, value: u8, allowed: u8| {
            StateError::check_bits(Self::KIND, field, value, allowed)
        };
        bits("interrupt_enable", self.interrupt_enable, IER_MASK)?;
        bits("fifo_control", self.fifo_control, FCR_KEPT)?;
        bits("modem_control", self.modem_control, MCR_MASK)?;
        bits("line_errors", self.line_errors, LSR_ERRORS)?;
        for received in &self.received {
            bits("received.errors", received.errors, LSR_ERRORS)?;
        }
        let has_fifos = self.fifo_control & FCR_ENABLE != 0;
        let capacity = if has_fifos { FIFO_SIZE } else { 1 } as u64;
        let max = |field, value: u64, max| StateError::check_max(Self::KIND, field, value, max);
        max("received.length", self.received.len() as u64, capacity)?;
        max("unsent.length", self.unsent.len() as u64, capacity)?;
        max("polls", self.polls.into(), POLLS.into())
    }
}

impl From<SerialState> for SerialForm {
    fn from(state: SerialState) -> Self {
        let received = state.received.into_iter();
        Self {
            interrupt_enable: state.interrupt_enable,
            fifo_control: state.fifo_control,
            line_control: state.line_control,
            modem_control: state.modem_control,
            modem_status: state.modem_status,
            scratch: state.scratch,
            divisor: state.divisor,
            line_errors: state.line_errors,
            received: received
                .map(|(byte, errors)| ReceivedByte { byte, errors })
                .collect(),
            unsent: state.unsent.into(),
            thr_empty_pending: state.thr_empty_pending,
            polls: state.polls,
        }
    }
}

impl From<SerialForm> for SerialState {
    fn from(form: SerialForm) -> Self {
        let received = form.received.into_iter();
        Self {
            interrupt_enable: form.interrupt_enable,
            fifo_control: form.fifo_control,
            line_control: form.line_control,
            modem_control: form.modem_control,
            modem_status: form.modem_status,
            scratch: form.scratch,
            divisor: form.divisor,
            line_errors: form.line_errors,
            received: received
                .map(|received| (received.byte, received.errors))
                .collect(),
            unsent: form.unsent.into(),
            thr_empty_pending: form.thr_empty_pending,
            polls: form.polls,
        }
    }
}

impl SaveState for SerialPort {
    fn save_state(&self) -> Result<SavedState, StateError> {
        SavedState::new(&SerialForm::from(self.state()))
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let form: SerialForm = saved.read()?;
        form.check()?;
        self.restore(form.into());
        Ok(())
    }
}
