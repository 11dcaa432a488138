//! Controller and keyboard. No lock, no wires.

use std::collections::VecDeque;

use super::spec::*;

/// All that the guest can see of the controller and its keyboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct I8042State {
    /// The command byte (CTR).
    pub control: u8,
    /// Whether the last write went to the command port.
    pub last_was_command: bool,
    /// The command whose data byte is missing; 0 for none.
    pub command: u8,
    /// The controller's answer, which is read before anything else.
    pub answer: Option<u8>,
    /// Bytes from the keyboard, oldest first; at most 16.
    pub keys: VecDeque<u8>,
    /// The keyboard's command whose data byte is missing; 0 for none.
    pub keyboard_command: u8,
    /// Whether the keyboard sends keys.
    pub scanning: bool,
}

impl Default for I8042State {
    fn default() -> Self {
        Self {
            control: CTR_KEYBOARD_INTERRUPT | CTR_SYSTEM | CTR_AUX_OFF | CTR_TRANSLATE,
            last_was_command: false,
            command: 0,
            answer: None,
            keys: VecDeque::new(),
            keyboard_command: 0,
            scanning: true,
        }
    }
}

/// The controller with its keyboard.
#[derive(Debug, Default)]
pub(super) struct Controller {
    // What the guest can see
    pub(super) state: I8042State,
}

impl Controller {
    pub(super) fn from_state(mut state: I8042State) -> Self {
        state.keys.truncate(QUEUE);
        Self { state }
    }

    pub(super) fn read_status(&self) -> u8 {
        let state = &self.state;
        let mut status = STATUS_UNLOCKED | (state.control & CTR_SYSTEM);
        if state.answer.is_some() || self.key_waits() {
            status |= STATUS_OUTPUT_FULL;
        }
        if state.last_was_command {
            status |= STATUS_COMMAND;
        }
        status
    }

    pub(super) fn read_data(&mut self) -> u8 {
        if let Some(answer) = self.state.answer.take() {
            return answer;
        }
        if !self.key_waits() {
            return 0;
        }
        self.state.keys.pop_front().unwrap_or(0)
    }

    /// Takes a command; true if it resets the machine.
    pub(super) fn write_command(&mut self, command: u8) -> bool {
        let state = &mut self.state;
        state.last_was_command = true;
        state.command = 0;
        match command {
            READ_CTR => state.answer = Some(state.control),
            WRITE_CTR | WRITE_OUTPUT_PORT | LOOP_KEYBOARD | LOOP_AUX | SEND_AUX => {
                state.command = command;
            }
            DISABLE_AUX => state.control |= CTR_AUX_OFF,
            ENABLE_AUX => state.control &= !CTR_AUX_OFF,
            TEST_AUX => state.answer = Some(PORT_TEST_FAILED),
            SELF_TEST => {
                state.control |= CTR_SYSTEM;
                state.answer = Some(SELF_TEST_PASSED);
            }
            TEST_KEYBOARD => state.answer = Some(PORT_TEST_PASSED),
            DISABLE_KEYBOARD => state.control |= CTR_KEYBOARD_OFF,
            ENABLE_KEYBOARD => state.control &= !CTR_KEYBOARD_OFF,
            READ_INPUT_PORT => state.answer = Some(0),
            READ_OUTPUT_PORT => state.answer = Some(OUTPUT_PORT),
            PULSE.. => return command & OUTPUT_RESET == 0,
            _ => {} // controllers differ in the rest; Linux uses none of it
        }
        false
    }

    /// Takes a byte at the data port; true if it resets the machine.
    pub(super) fn write_data(&mut self, value: u8) -> bool {
        self.state.last_was_command = false;
        match std::mem::take(&mut self.state.command) {
            0 => self.write_keyboard(value),
            WRITE_CTR => self.state.control = value,
            WRITE_OUTPUT_PORT => return value & OUTPUT_RESET == 0,
            LOOP_KEYBOARD => self.send(&[value]),
            // Not marked as the auxiliary device's: so a driver learns that there is none.
            LOOP_AUX => self.state.answer = Some(value),
            _ => {} // for the auxiliary device, which is not there
        }
        false
    }

    /// Level of the keyboard's line.
    pub(super) fn line(&self) -> bool {
        self.state.control & CTR_KEYBOARD_INTERRUPT != 0
            && self.state.answer.is_none()
            && self.key_waits()
    }

    /// Presses and releases Ctrl, Alt and Delete; false if the keyboard is off or full.
    pub(super) fn ctrl_alt_del(&mut self) -> bool {
        let on = self.state.scanning && self.state.control & CTR_KEYBOARD_OFF == 0;
        let translated = self.state.control & CTR_TRANSLATE != 0;
        let codes: &[u8] = if translated {
            &CTRL_ALT_DEL_SET_1
        } else {
            &CTRL_ALT_DEL_SET_2
        };
        let fits = self.state.keys.len() + codes.len() <= QUEUE;
        if on && fits {
            self.send(codes);
        }
        on && fits
    }

    fn key_waits(&self) -> bool {
        self.state.control & CTR_KEYBOARD_OFF == 0 && !self.state.keys.is_empty()
    }

    fn write_keyboard(&mut self, value: u8) {
        // Data for the keyboard turns its clock on.
        self.state.control &= !CTR_KEYBOARD_OFF;
        match (std::mem::take(&mut self.state.keyboard_command), value) {
            (KEYBOARD_SCAN_SET, 0) => self.send(&[KEYBOARD_ACK, 2]),
            (KEYBOARD_SCAN_SET | KEYBOARD_LIGHTS | KEYBOARD_RATE, _) => self.send(&[KEYBOARD_ACK]),
            (_, KEYBOARD_SCAN_SET | KEYBOARD_LIGHTS | KEYBOARD_RATE) => {
                self.state.keyboard_command = value;
                self.send(&[KEYBOARD_ACK]);
            }
            (_, KEYBOARD_ECHO) => self.send(&[KEYBOARD_ECHO]),
            (_, KEYBOARD_IDENTIFY) => self.send(&[KEYBOARD_ACK, 0xab, self.second_id()]),
            (_, KEYBOARD_ENABLE | KEYBOARD_DEFAULTS) => self.enable(&[KEYBOARD_ACK]),
            (_, KEYBOARD_DISABLE) => {
                self.state.scanning = false;
                self.send(&[KEYBOARD_ACK]);
            }
            (_, KEYBOARD_RESET) => {
                self.state.keys.clear();
                self.enable(&[KEYBOARD_ACK, KEYBOARD_PASSED]);
            }
            _ => self.send(&[KEYBOARD_RESEND]),
        }
    }

    /// The keyboard's second identification byte, 0x83, is translated like any scan code.
    fn second_id(&self) -> u8 {
        if self.state.control & CTR_TRANSLATE != 0 {
            0x41
        } else {
            0x83
        }
    }

    fn enable(&mut self, answer: &[u8]) {
        self.state.scanning = true;
        self.send(answer);
    }

    /// Queues bytes from the keyboard; a full queue keeps the oldest.
    fn send(&mut self, bytes: &[u8]) {
        let room = QUEUE.saturating_sub(self.state.keys.len());
        self.state.keys.extend(bytes.iter().take(room));
    }
}
