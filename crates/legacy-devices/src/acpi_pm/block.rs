//! The registers. No lock, no clock.

use super::spec::*;

/// The state of the block that the guest can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcpiPmState {
    /// PM1 status.
    pub status: u16,
    /// PM1 enable.
    pub enable: u16,
    /// PM1 control, without the bits that read as 0.
    pub control: u16,
}

impl Default for AcpiPmState {
    fn default() -> Self {
        Self {
            status: 0,
            enable: 0,
            control: CONTROL_SCI_ENABLE,
        }
    }
}

/// The register block.
#[derive(Debug, Default)]
pub(super) struct Block {
    // What the guest can see
    pub(super) state: AcpiPmState,
}

impl Block {
    pub(super) fn from_state(state: AcpiPmState) -> Self {
        let mut block = Self::default();
        block.state.status = state.status & EVENTS;
        block.state.enable = state.enable & EVENTS;
        block.set_control(state.control);
        block
    }

    /// Reads the byte at `offset`, `now` nanoseconds into the timer's life.
    pub(super) fn read(&self, offset: u16, now: u64) -> u8 {
        let [status_low, status_high] = self.state.status.to_le_bytes();
        let [enable_low, enable_high] = self.state.enable.to_le_bytes();
        let [control_low, control_high] = self.state.control.to_le_bytes();
        let [t0, t1, t2, t3] = ticks(now).to_le_bytes();
        match offset {
            0 => status_low,
            1 => status_high,
            2 => enable_low,
            3 => enable_high,
            4 => control_low,
            5 => control_high,
            8 => t0,
            9 => t1,
            10 => t2,
            11 => t3,
            _ => 0, // reserved ports of the block
        }
    }

    /// Writes the byte at `offset`; true if the guest turns itself off by it.
    pub(super) fn write(&mut self, offset: u16, value: u8) -> bool {
        let low = u16::from(value);
        let high = low << 8;
        match offset {
            0 => self.state.status &= !low, // writing ones clears (section 4.8.3.1.1)
            1 => self.state.status &= !high,
            2 => self.state.enable = (self.state.enable & 0xff00 | low) & EVENTS,
            3 => self.state.enable = (self.state.enable & 0x00ff | high) & EVENTS,
            4 => self.set_control(self.state.control & 0xff00 | low),
            5 => {
                self.set_control(self.state.control & 0x00ff | high);
                let kind = (self.state.control & CONTROL_SLEEP_TYPE) >> CONTROL_SLEEP_TYPE_SHIFT;
                let s5 = [S5_SLEEP_TYPE, FIRMWARE_S5_SLEEP_TYPE].map(u16::from);
                return high & CONTROL_SLEEP_ENABLE != 0 && s5.contains(&kind);
            }
            _ => {} // the timer is read only, the rest reserved
        }
        false
    }

    /// Raises `event`; returns whether it is enabled.
    pub(super) fn raise(&mut self, event: u16) -> bool {
        self.state.status |= event & EVENTS;
        self.state.enable & event != 0
    }

    /// Level of the SCI.
    pub(super) fn line(&self) -> bool {
        self.state.status & self.state.enable != 0
    }

    fn set_control(&mut self, value: u16) {
        let kept = CONTROL_BUS_MASTER_RELOAD | CONTROL_SLEEP_TYPE;
        self.state.control = value & kept | CONTROL_SCI_ENABLE;
    }
}

/// The timer after `nanoseconds`: its low 32 bits.
fn ticks(nanoseconds: u64) -> u32 {
    let ticks = u128::from(nanoseconds) * u128::from(PM_TIMER_HERTZ) / 1_000_000_000;
    (ticks & u128::from(u32::MAX)) as u32
}
