//! Clock and RAM: registers as a function of the time. No lock, no clock of its own.

use super::calendar::Moment;
use super::spec::*;

/// All that the guest can see of the clock and its RAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CmosState {
    /// The index register: a register number, and in bit 7 whether NMI is masked.
    pub index: u8,
    /// All registers. Those of the time hold what the guest is setting while SET is on.
    pub registers: [u8; SIZE],
    /// Offset of the guest's time from the owner's, in seconds.
    pub offset: i64,
}

/// The clock chip.
#[derive(Clone, Debug)]
pub(super) struct Rtc {
    // What the guest can see
    pub(super) state: CmosState,
}

impl Rtc {
    /// A chip after power-on in a PC with `below_4g` and `above_4g` bytes of RAM.
    pub(super) fn new(below_4g: u64, above_4g: u64) -> Self {
        let state = CmosState {
            index: 0,
            registers: [0; SIZE],
            offset: 0,
        };
        let mut rtc = Self { state };
        let kib = below_4g >> 10;
        rtc.store(REGISTER_A, u64::from(A_DEFAULT), 1);
        rtc.store(REGISTER_B, u64::from(B_24_HOURS), 1);
        rtc.store(BASE_MEMORY, kib.min(640), 2);
        let extended = kib.saturating_sub(1024).min(63 << 10);
        rtc.store(EXTENDED_MEMORY, extended, 2);
        rtc.store(EXTENDED_MEMORY_FOUND, extended, 2);
        let above_16m = below_4g.saturating_sub(16 << 20) >> 16;
        rtc.store(MEMORY_ABOVE_16M, above_16m.min(0xffff), 2);
        rtc.store(MEMORY_ABOVE_4G, (above_4g >> 16).min(0xff_ffff), 3);
        rtc
    }

    /// Reads the register that the index names, at `now` seconds after 1970.
    pub(super) fn read(&self, now: i64) -> u8 {
        let index = self.state.index & !NMI_MASK;
        match index {
            REGISTER_A => self.register(index) & !A_UPDATE_IN_PROGRESS,
            REGISTER_C => 0,
            REGISTER_D => D_VALID,
            _ if is_time(index) && !self.setting() => self.encode(index, self.moment(now)),
            _ => self.register(index),
        }
    }

    /// Writes the register that the index names.
    pub(super) fn write(&mut self, value: u8, now: i64) {
        let index = self.state.index & !NMI_MASK;
        match index {
            REGISTER_B => self.write_control(value, now),
            REGISTER_C | REGISTER_D => {} // read only
            _ if is_time(index) && !self.setting() => {
                self.freeze(now);
                self.store(index, u64::from(value), 1);
                self.set_clock(now);
            }
            _ => self.store(index, u64::from(value), 1),
        }
    }

    /// SET holds the registers still; its end starts the clock from them.
    fn write_control(&mut self, value: u8, now: i64) {
        let was_setting = self.setting();
        if !was_setting && value & B_SET != 0 {
            self.freeze(now);
        }
        self.store(REGISTER_B, u64::from(value), 1);
        if was_setting && value & B_SET == 0 {
            self.set_clock(now);
        }
    }

    fn setting(&self) -> bool {
        self.register(REGISTER_B) & B_SET != 0
    }

    fn moment(&self, now: i64) -> Moment {
        Moment::from_unix(now.saturating_add(self.state.offset))
    }

    fn freeze(&mut self, now: i64) {
        let moment = self.moment(now);
        for index in [SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY] {
            self.store(index, u64::from(self.encode(index, moment)), 1);
        }
    }

    fn set_clock(&mut self, now: i64) {
        let hours = self.register(HOURS);
        let hour = if self.register(REGISTER_B) & B_24_HOURS != 0 {
            self.decode(hours)
        } else {
            let afternoon = if hours & HOURS_PM != 0 { 12 } else { 0 };
            self.decode(hours & !HOURS_PM) % 12 + afternoon
        };
        let value = |index| self.decode(self.register(index));
        let moment = Moment {
            year: value(CENTURY) * 100 + value(YEAR),
            month: value(MONTH),
            day: value(DAY),
            hour,
            minute: value(MINUTES),
            second: value(SECONDS),
        };
        self.state.offset = moment.to_unix().saturating_sub(now);
    }

    /// The value of register `index` at `moment`.
    fn encode(&self, index: u8, moment: Moment) -> u8 {
        let control = self.register(REGISTER_B);
        let mut mark = 0;
        let value = match index {
            SECONDS => moment.second,
            MINUTES => moment.minute,
            HOURS if control & B_24_HOURS != 0 => moment.hour,
            HOURS => {
                mark = if moment.hour >= 12 { HOURS_PM } else { 0 };
                (moment.hour + 11) % 12 + 1
            }
            WEEKDAY => moment.weekday(),
            DAY => moment.day,
            MONTH => moment.month,
            YEAR => moment.year.rem_euclid(100),
            _ => moment.year.div_euclid(100),
        };
        let value = u8::try_from(value).unwrap_or(0);
        let coded = if control & B_BINARY != 0 {
            value
        } else {
            value / 10 * 16 + value % 10
        };
        coded | mark
    }

    fn decode(&self, value: u8) -> i64 {
        let binary = self.register(REGISTER_B) & B_BINARY != 0;
        i64::from(if binary {
            value
        } else {
            (value >> 4) * 10 + (value & 15)
        })
    }

    fn register(&self, index: u8) -> u8 {
        self.state
            .registers
            .get(usize::from(index))
            .copied()
            .unwrap_or(0xff)
    }

    /// Stores the low `length` bytes of `value` from `index` on.
    fn store(&mut self, index: u8, value: u64, length: usize) {
        let slots = self.state.registers.iter_mut().skip(usize::from(index));
        for (slot, byte) in slots.zip(value.to_le_bytes().into_iter().take(length)) {
            *slot = byte;
        }
    }
}

fn is_time(index: u8) -> bool {
    matches!(index, SECONDS | MINUTES | HOURS | WEEKDAY..=YEAR | CENTURY)
}
