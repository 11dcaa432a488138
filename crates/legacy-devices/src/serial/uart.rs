//! The chip: registers, FIFOs, and which interrupt is pending. No lock, no clock, no host.

use std::collections::VecDeque;

use super::SerialOutput;
use super::spec::*;

/// How many reads of LSR in a row, with nothing to wait for but input, make a polling reader.
pub(super) const POLLS: u8 = 16;

/// All that the guest can see of a serial port, and what it has not taken yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialState {
    /// Interrupt enable register.
    pub interrupt_enable: u8,
    /// FIFO control register, without the bits that clear themselves.
    pub fifo_control: u8,
    /// Line control register.
    pub line_control: u8,
    /// Modem control register.
    pub modem_control: u8,
    /// Modem status register, with the changes since it was read.
    pub modem_status: u8,
    /// Scratch register.
    pub scratch: u8,
    /// Baud rate divisor.
    pub divisor: u16,
    /// The error bits of LSR that are set now.
    pub line_errors: u8,
    /// Bytes the guest has not read, oldest first, each with the error bits it brings to LSR.
    pub received: VecDeque<(u8, u8)>,
    /// Bytes the sink had no room for, oldest first.
    pub unsent: VecDeque<u8>,
    /// Whether "transmitter holding register empty" is pending.
    pub thr_empty_pending: bool,
    /// Reads of LSR in a row; 16 make a polling reader.
    pub polls: u8,
}

impl Default for SerialState {
    /// The state after power-on (data sheet, table III).
    fn default() -> Self {
        Self {
            interrupt_enable: 0,
            fifo_control: 0,
            line_control: 0,
            modem_control: 0,
            modem_status: MSR_CTS | MSR_DSR | MSR_DCD,
            scratch: 0,
            divisor: DEFAULT_DIVISOR,
            line_errors: 0,
            received: VecDeque::new(),
            unsent: VecDeque::new(),
            thr_empty_pending: false,
            polls: 0,
        }
    }
}

/// The 16550A.
#[derive(Clone, Debug, Default)]
pub(super) struct Uart {
    // What the guest can see
    pub(super) state: SerialState,
    // For the owner
    /// Bytes the guest wrote while neither the sink nor the FIFO had room.
    pub(super) dropped: u64,
}

impl Uart {
    /// A chip in `state`; what no chip could hold is cut off.
    pub(super) fn from_state(mut state: SerialState) -> Self {
        state.interrupt_enable &= IER_MASK;
        state.fifo_control &= FCR_KEPT;
        state.modem_control &= MCR_MASK;
        state.line_errors &= LSR_ERRORS;
        state.polls = state.polls.min(POLLS);
        let mut uart = Self { state, dropped: 0 };
        let capacity = uart.capacity();
        uart.state.received.truncate(capacity);
        uart.state.unsent.truncate(capacity);
        for (_, errors) in &mut uart.state.received {
            *errors &= LSR_ERRORS;
        }
        uart.reveal_errors();
        uart
    }

    /// Reads the register at `offset`.
    pub(super) fn read(&mut self, offset: u16) -> u8 {
        // EDK II's driver looks at the modem's lines each time that it polls.
        if !matches!(offset, LSR | MCR | MSR) {
            self.forget_polls();
        }
        let state = &mut self.state;
        let divisor = state.line_control & LCR_DLAB != 0;
        match offset {
            DATA if divisor => state.divisor.to_le_bytes()[0],
            IER if divisor => state.divisor.to_le_bytes()[1],
            DATA => {
                let byte = state.received.pop_front().map_or(0, |(byte, _)| byte);
                self.reveal_errors();
                byte
            }
            IER => state.interrupt_enable,
            IIR => self.read_identification(),
            LCR => state.line_control,
            MCR => state.modem_control,
            LSR => self.read_line_status(),
            MSR => {
                let status = state.modem_status;
                state.modem_status &= !MSR_DELTAS;
                status
            }
            SCR => state.scratch,
            _ => 0xff,
        }
    }

    /// Writes the register at `offset`; what is to be sent goes to `output`.
    pub(super) fn write(&mut self, offset: u16, value: u8, output: &mut dyn SerialOutput) {
        self.forget_polls();
        let state = &mut self.state;
        let divisor = state.line_control & LCR_DLAB != 0;
        let [low, high] = state.divisor.to_le_bytes();
        match offset {
            DATA if divisor => state.divisor = u16::from_le_bytes([value, high]),
            IER if divisor => state.divisor = u16::from_le_bytes([low, value]),
            DATA => self.transmit(value, output),
            IER => self.write_interrupt_enable(value),
            FCR => self.write_fifo_control(value),
            LCR => self.write_line_control(value),
            MCR => {
                state.modem_control = value & MCR_MASK;
                self.update_modem_status();
            }
            SCR => state.scratch = value,
            _ => {} // LSR and MSR: the data sheet gives writes no meaning
        }
    }

    /// How many bytes from the host are welcome now.
    pub(super) fn room(&self) -> usize {
        if !self.listening() {
            return 0;
        }
        self.capacity().saturating_sub(self.state.received.len())
    }

    /// Takes as many of `bytes` from the host as there is room for.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> usize {
        let accepted = bytes.len().min(self.room());
        let news = bytes.iter().take(accepted).map(|byte| (*byte, 0));
        self.state.received.extend(news);
        accepted
    }

    /// Receives a break from the host; false if there is no room.
    pub(super) fn receive_break(&mut self) -> bool {
        if self.room() == 0 {
            return false;
        }
        self.state.received.push_back((0, LSR_BREAK));
        self.reveal_errors();
        true
    }

    /// Sends what waited for `output` to have room.
    pub(super) fn drain(&mut self, output: &mut dyn SerialOutput) {
        if self.state.unsent.is_empty() {
            return;
        }
        while let Some(byte) = self.state.unsent.front() {
            if !output.push(*byte) {
                return;
            }
            self.state.unsent.pop_front();
        }
        self.state.thr_empty_pending = true;
    }

    /// The interrupt of the highest priority that is pending and enabled (table IV).
    pub(super) fn pending(&self) -> u8 {
        let state = &self.state;
        let enabled = |bit| state.interrupt_enable & bit != 0;
        let received = state.received.len();
        if enabled(IER_ELSI) && state.line_errors != 0 {
            IIR_LINE_STATUS
        } else if enabled(IER_ERBFI) && received >= self.trigger_level() {
            IIR_RECEIVED_DATA
        } else if enabled(IER_ERBFI) && received > 0 {
            IIR_CHARACTER_TIMEOUT
        } else if enabled(IER_ETBEI) && state.thr_empty_pending {
            IIR_THR_EMPTY
        } else if enabled(IER_EDSSI) && state.modem_status & MSR_DELTAS != 0 {
            IIR_MODEM_STATUS
        } else {
            IIR_NONE
        }
    }

    /// Whether the interrupt line is high: something is pending and OUT2 connects the line. In
    /// loopback the OUT2 pin is inactive, whatever MCR says (section 8.8).
    pub(super) fn line(&self) -> bool {
        let connected = self.state.modem_control & (MCR_OUT2 | MCR_LOOP) == MCR_OUT2;
        connected && self.pending() != IIR_NONE
    }

    fn listening(&self) -> bool {
        let state = &self.state;
        // On a PC, OUT2 lets the interrupt through. Linux probes the port with all of IER on and
        // OUT2 off, and throws away what came then.
        let interrupted =
            state.interrupt_enable & IER_ERBFI != 0 && state.modem_control & MCR_OUT2 != 0;
        let reader = interrupted || state.polls >= POLLS;
        reader && !self.in_loopback()
    }

    fn in_loopback(&self) -> bool {
        self.state.modem_control & MCR_LOOP != 0
    }

    fn fifos(&self) -> bool {
        self.state.fifo_control & FCR_ENABLE != 0
    }

    fn capacity(&self) -> usize {
        if self.fifos() { FIFO_SIZE } else { 1 }
    }

    fn trigger_level(&self) -> usize {
        let level = TRIGGER_LEVELS.get(usize::from(self.state.fifo_control >> 6));
        level.copied().filter(|_| self.fifos()).unwrap_or(1)
    }

    /// A polling reader stays one as long as it reads and writes data; what comes in between only
    /// counts before it is known.
    fn forget_polls(&mut self) {
        if self.state.polls < POLLS {
            self.state.polls = 0;
        }
    }

    fn read_identification(&mut self) -> u8 {
        let pending = self.pending();
        if pending == IIR_THR_EMPTY {
            self.state.thr_empty_pending = false;
        }
        pending | if self.fifos() { IIR_FIFOS } else { 0 }
    }

    fn read_line_status(&mut self) -> u8 {
        let mut status = self.state.line_errors;
        if !self.state.received.is_empty() {
            status |= LSR_DATA_READY;
        }
        if self.state.unsent.is_empty() {
            status |= LSR_THR_EMPTY | LSR_IDLE;
            // Whoever polls for room to transmit has it now, and does not poll on.
            self.state.polls = self.state.polls.saturating_add(1).min(POLLS);
        }
        let buried = self.state.received.iter().any(|(_, errors)| *errors != 0);
        if self.fifos() && (buried || self.state.line_errors & !LSR_OVERRUN != 0) {
            status |= LSR_FIFO_ERROR;
        }
        self.state.line_errors = 0;
        status
    }

    fn write_interrupt_enable(&mut self, value: u8) {
        let risen = value & !self.state.interrupt_enable;
        self.state.interrupt_enable = value & IER_MASK;
        // Whoever sets interrupts up says by ERBFI whether they read.
        self.state.polls = 0;
        // Enabling it while the register is empty raises it, as drivers count on.
        if risen & IER_ETBEI != 0 && self.state.unsent.is_empty() {
            self.state.thr_empty_pending = true;
        }
    }

    fn write_fifo_control(&mut self, value: u8) {
        let toggled = (value ^ self.state.fifo_control) & FCR_ENABLE != 0;
        let enabled = value & FCR_ENABLE != 0;
        self.state.fifo_control = if enabled { value & FCR_KEPT } else { 0 };
        // The data sheet empties the FIFOs at either change of mode. What came while they were off
        // stays here: Linux turns on the receiver's interrupt first and the FIFOs after it, and
        // input that was typed ahead would lose its first byte.
        let emptied = toggled && !enabled;
        if emptied || (enabled && value & FCR_RESET_RX != 0) {
            self.state.received.clear();
        }
        if emptied || (enabled && value & FCR_RESET_TX != 0) {
            let waited = !self.state.unsent.is_empty();
            self.state.unsent.clear();
            self.state.thr_empty_pending |= waited;
        }
    }

    fn write_line_control(&mut self, value: u8) {
        let risen = value & !self.state.line_control;
        self.state.line_control = value;
        if risen & LCR_BREAK != 0 && self.in_loopback() {
            self.loop_back(0, LSR_BREAK);
        }
    }

    fn transmit(&mut self, byte: u8, output: &mut dyn SerialOutput) {
        self.state.thr_empty_pending = false;
        if self.in_loopback() {
            self.loop_back(byte, 0);
        } else if !self.state.unsent.is_empty() || !output.push(byte) {
            if self.state.unsent.len() < self.capacity() {
                self.state.unsent.push_back(byte);
            } else {
                self.dropped = self.dropped.saturating_add(1);
            }
        }
        self.state.thr_empty_pending = self.state.unsent.is_empty();
    }

    /// Receives what was sent in loopback. A full FIFO keeps what it has; the single buffer
    /// register is overwritten (section 8.4, overrun).
    fn loop_back(&mut self, byte: u8, errors: u8) {
        if self.state.received.len() >= self.capacity() {
            self.state.line_errors |= LSR_OVERRUN;
            if self.fifos() {
                return;
            }
            self.state.received.clear();
        }
        self.state.received.push_back((byte, errors));
        self.reveal_errors();
    }

    /// The errors of the oldest byte show in LSR, and stay there until it is read.
    fn reveal_errors(&mut self) {
        if let Some((_, errors)) = self.state.received.front_mut() {
            self.state.line_errors |= std::mem::take(errors);
        }
    }

    /// The modem lines as they are now: the other end is always there and ready; in loopback the
    /// chip's own outputs are its inputs (section 8.8).
    fn update_modem_status(&mut self) {
        let control = self.state.modem_control;
        let mut lines = MSR_CTS | MSR_DSR | MSR_DCD;
        if self.in_loopback() {
            let pairs = [
                (MCR_RTS, MSR_CTS),
                (MCR_DTR, MSR_DSR),
                (MCR_OUT1, MSR_RI),
                (MCR_OUT2, MSR_DCD),
            ];
            let on = pairs.iter().filter(|(output, _)| control & output != 0);
            lines = on.fold(0, |lines, (_, input)| lines | input);
        }
        let old = self.state.modem_status & !MSR_DELTAS;
        let mut deltas = (old ^ lines) >> 4;
        if lines & MSR_RI != 0 {
            deltas &= !MSR_TRAILING_RI; // only its end counts
        }
        self.state.modem_status = lines | deltas | (self.state.modem_status & MSR_DELTAS);
    }
}

#[cfg(test)]
mod tests;
