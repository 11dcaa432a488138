//! Numbers of the clock: Motorola MC146818A data sheet (registers 0x00-0x0D); PC/AT Technical
//! Reference, CMOS RAM map (the rest).

/// Index port; bit 7 masks NMI.
pub const INDEX: u16 = 0x70;
/// Index port: NMI masked.
pub const NMI_MASK: u8 = 0x80;
/// Seconds; the alarm's value follows each of the first three.
pub const SECONDS: u8 = 0x00;
/// Minutes.
pub const MINUTES: u8 = 0x02;
/// Hours; with 12 hours bit 7 is afternoon.
pub const HOURS: u8 = 0x04;
/// Afternoon.
pub const HOURS_PM: u8 = 0x80;
/// Day of the week, 1 is Sunday.
pub const WEEKDAY: u8 = 0x06;
/// Day of the month.
pub const DAY: u8 = 0x07;
/// Month.
pub const MONTH: u8 = 0x08;
/// Year in the century.
pub const YEAR: u8 = 0x09;
/// Register A: update in progress in bit 7, divider, rate.
pub const REGISTER_A: u8 = 0x0a;
/// Register A: update in progress; never seen.
pub const A_UPDATE_IN_PROGRESS: u8 = 0x80;
/// Register A at power-on: 32768 Hz time base, 1024 Hz rate.
pub const A_DEFAULT: u8 = 0x26;
/// Register B: control.
pub const REGISTER_B: u8 = 0x0b;
/// Register B: 24 hours.
pub const B_24_HOURS: u8 = 0x02;
/// Register B: binary, not BCD.
pub const B_BINARY: u8 = 0x04;
/// Register B: the guest is setting the time.
pub const B_SET: u8 = 0x80;
/// Register C: interrupt flags; reads as 0, there are no interrupts.
pub const REGISTER_C: u8 = 0x0c;
/// Register D: bit 7 says that time and RAM are valid.
pub const REGISTER_D: u8 = 0x0d;
/// Register D: valid.
pub const D_VALID: u8 = 0x80;
/// Shutdown status.
pub const SHUTDOWN: u8 = 0x0f;
/// Base memory in KiB, 2 bytes.
pub const BASE_MEMORY: u8 = 0x15;
/// Memory from 1 MiB to 64 MiB in KiB, 2 bytes.
pub const EXTENDED_MEMORY: u8 = 0x17;
/// The same as found by firmware.
pub const EXTENDED_MEMORY_FOUND: u8 = 0x30;
/// Century; FADT CENTURY.
pub const CENTURY: u8 = 0x32;
/// Memory from 16 MiB to 4 GiB in 64 KiB, 2 bytes.
pub const MEMORY_ABOVE_16M: u8 = 0x34;
/// Memory from 4 GiB in 64 KiB, 3 bytes.
pub const MEMORY_ABOVE_4G: u8 = 0x5b;
/// Bytes of RAM and clock.
pub const SIZE: usize = 128;
