//! The pvpanic device by an ISA port (QEMU, docs/specs/pvpanic, "ISA Interface"; the bits have their
//! names from Linux, include/uapi/misc/pvpanic.h).

/// The port.
pub const PORT: u16 = 0x505;
/// The guest's kernel panicked, and the host is to do something about it.
pub const PANICKED: u8 = 1 << 0;
/// The guest's kernel panicked and deals with it itself; the host is to take note, no more.
pub const CRASH_LOADED: u8 = 1 << 1;
/// The guest has shut down in an orderly way, and the host is to switch it off.
pub const SHUTDOWN: u8 = 1 << 2;
/// The events that the device knows.
pub const EVENTS: u8 = PANICKED | CRASH_LOADED | SHUTDOWN;
