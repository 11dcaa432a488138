//! Numbers of the keyboard controller: IBM PS/2 Technical Reference, Keyboard and Auxiliary Device
//! Controller; IBM PS/2 Technical Reference, 101- and 102-key keyboards.

/// Data port.
pub const DATA: u16 = 0x60;
/// Status (read) and command (write) port.
pub const COMMAND: u16 = 0x64;

/// Status: a byte waits at the data port.
pub const STATUS_OUTPUT_FULL: u8 = 0x01;
/// Status: the self test passed.
pub const STATUS_SYSTEM: u8 = 0x04;
/// Status: the last write went to the command port.
pub const STATUS_COMMAND: u8 = 0x08;
/// Status: the keyboard is not locked.
pub const STATUS_UNLOCKED: u8 = 0x10;

/// Command byte (CTR): interrupt when a byte from the keyboard waits.
pub const CTR_KEYBOARD_INTERRUPT: u8 = 0x01;
/// Command byte: system flag, copied to status.
pub const CTR_SYSTEM: u8 = 0x04;
/// Command byte: the keyboard's clock is off.
pub const CTR_KEYBOARD_OFF: u8 = 0x10;
/// Command byte: the auxiliary port's clock is off.
pub const CTR_AUX_OFF: u8 = 0x20;
/// Command byte: translate scan code set 2 to set 1.
pub const CTR_TRANSLATE: u8 = 0x40;

/// Read the command byte.
pub const READ_CTR: u8 = 0x20;
/// Write the command byte.
pub const WRITE_CTR: u8 = 0x60;
/// Disable the auxiliary port.
pub const DISABLE_AUX: u8 = 0xa7;
/// Enable the auxiliary port.
pub const ENABLE_AUX: u8 = 0xa8;
/// Test the auxiliary port.
pub const TEST_AUX: u8 = 0xa9;
/// Self test.
pub const SELF_TEST: u8 = 0xaa;
/// Test the keyboard port.
pub const TEST_KEYBOARD: u8 = 0xab;
/// Disable the keyboard.
pub const DISABLE_KEYBOARD: u8 = 0xad;
/// Enable the keyboard.
pub const ENABLE_KEYBOARD: u8 = 0xae;
/// Read the input port.
pub const READ_INPUT_PORT: u8 = 0xc0;
/// Read the output port.
pub const READ_OUTPUT_PORT: u8 = 0xd0;
/// Write the output port.
pub const WRITE_OUTPUT_PORT: u8 = 0xd1;
/// Write a byte as if the keyboard had sent it.
pub const LOOP_KEYBOARD: u8 = 0xd2;
/// Write a byte as if the auxiliary device had sent it.
pub const LOOP_AUX: u8 = 0xd3;
/// Send a byte to the auxiliary device.
pub const SEND_AUX: u8 = 0xd4;
/// From here on the low 4 bits are output port lines to pulse low; bit 0 is reset.
pub const PULSE: u8 = 0xf0;
/// Output port and pulse commands: processor reset, active low.
pub const OUTPUT_RESET: u8 = 0x01;
/// The output port as it reads: no reset, A20 open.
pub const OUTPUT_PORT: u8 = 0x03;

/// Answer of a passed self test.
pub const SELF_TEST_PASSED: u8 = 0x55;
/// Answer of a passed port test.
pub const PORT_TEST_PASSED: u8 = 0x00;
/// Answer of a port test: clock line stuck low; there is no auxiliary port.
pub const PORT_TEST_FAILED: u8 = 0x01;

/// Keyboard: acknowledge.
pub const KEYBOARD_ACK: u8 = 0xfa;
/// Keyboard: resend, the answer to what it does not know.
pub const KEYBOARD_RESEND: u8 = 0xfe;
/// Keyboard: self test passed.
pub const KEYBOARD_PASSED: u8 = 0xaa;
/// Keyboard command: set the lights.
pub const KEYBOARD_LIGHTS: u8 = 0xed;
/// Keyboard command: echo.
pub const KEYBOARD_ECHO: u8 = 0xee;
/// Keyboard command: read or set the scan code set.
pub const KEYBOARD_SCAN_SET: u8 = 0xf0;
/// Keyboard command: identify.
pub const KEYBOARD_IDENTIFY: u8 = 0xf2;
/// Keyboard command: repeat rate.
pub const KEYBOARD_RATE: u8 = 0xf3;
/// Keyboard command: enable scanning.
pub const KEYBOARD_ENABLE: u8 = 0xf4;
/// Keyboard command: disable scanning, defaults.
pub const KEYBOARD_DISABLE: u8 = 0xf5;
/// Keyboard command: defaults.
pub const KEYBOARD_DEFAULTS: u8 = 0xf6;
/// Keyboard command: reset and self test.
pub const KEYBOARD_RESET: u8 = 0xff;

/// Ctrl, Alt and Delete pressed and released, scan code set 1.
pub const CTRL_ALT_DEL_SET_1: [u8; 8] = [0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d];
/// The same in scan code set 2.
pub const CTRL_ALT_DEL_SET_2: [u8; 11] = [
    0x14, 0x11, 0xe0, 0x71, 0xe0, 0xf0, 0x71, 0xf0, 0x11, 0xf0, 0x14,
];
/// Bytes the controller keeps for the guest.
pub const QUEUE: usize = 16;
