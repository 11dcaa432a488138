//! Port numbers: PC/AT Technical Reference, I/O address map; the debug-exit port is a convention.

/// The debug-exit port.
pub const DEBUG_EXIT: u16 = 0xf4;
/// The debug console of firmware, by QEMU's convention.
pub const DEBUG_CONSOLE: u16 = 0x402;
/// The value it reads as.
pub const DEBUG_CONSOLE_PRESENT: u8 = 0xe9;
/// POST codes; Linux writes there to wait a microsecond.
pub const POST_CODE: u16 = 0x80;
/// System control port B: speaker, timer 2, memory errors.
pub const SYSTEM_CONTROL_B: u16 = 0x61;
/// System control port B: the bits the guest sets: timer 2 gate, speaker, two error enables.
pub const SYSTEM_CONTROL_B_KEPT: u8 = 0x0f;
/// System control port B: timer 2 gate.
pub const TIMER_2_GATE: u8 = 0x01;
/// System control port B: toggles with each memory refresh.
pub const REFRESH: u8 = 0x10;
/// System control port B: timer 2 output.
pub const TIMER_2_OUT: u8 = 0x20;
