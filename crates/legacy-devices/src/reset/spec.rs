//! Numbers of the reset registers: Intel ICH9 data sheet, sections 13.7.3 (PORT92) and 13.7.5
//! (RST_CNT); PCI 3.0, section 3.2.2.3.2.

/// PCI's configuration address register, 4 bytes.
pub const PCI_CONFIG_ADDRESS: u16 = 0xcf8;
/// The reset control register, 1 byte; FADT RESET_REG.
pub const RESET_CONTROL: u16 = 0xcf9;
/// The value to write there; FADT RESET_VALUE.
pub const RESET_VALUE: u8 = 0x06;
/// Reset control: the bits that say which reset; they stay.
pub const RESET_KIND: u8 = 0x0a;
/// Reset control: reset.
pub const RESET_NOW: u8 = 0x04;
/// System control port A.
pub const SYSTEM_CONTROL_A: u16 = 0x92;
/// System control port A: reset the processor.
pub const FAST_RESET: u8 = 0x01;
/// System control port A: A20 is open.
pub const A20: u8 = 0x02;
