//! Numbers of the 16550A: National Semiconductor PC16550D data sheet, 1995, section 8.

/// Data: receiver buffer, transmitter holding register, divisor low with DLAB.
pub const DATA: u16 = 0;
/// Interrupt enable register; divisor high with DLAB.
pub const IER: u16 = 1;
/// Interrupt identification register, read only.
pub const IIR: u16 = 2;
/// FIFO control register, write only, at the address of [`IIR`].
pub const FCR: u16 = 2;
/// Line control register.
pub const LCR: u16 = 3;
/// Modem control register.
pub const MCR: u16 = 4;
/// Line status register.
pub const LSR: u16 = 5;
/// Modem status register.
pub const MSR: u16 = 6;
/// Scratch register.
pub const SCR: u16 = 7;

/// IER: received data available and character timeout (section 8.7).
pub const IER_ERBFI: u8 = 0x01;
/// IER: transmitter holding register empty.
pub const IER_ETBEI: u8 = 0x02;
/// IER: receiver line status.
pub const IER_ELSI: u8 = 0x04;
/// IER: modem status.
pub const IER_EDSSI: u8 = 0x08;
/// IER: the bits that exist.
pub const IER_MASK: u8 = 0x0f;

/// IIR: nothing pending (section 8.6, table IV).
pub const IIR_NONE: u8 = 0x01;
/// IIR: receiver line status, the first priority.
pub const IIR_LINE_STATUS: u8 = 0x06;
/// IIR: received data available, the second priority.
pub const IIR_RECEIVED_DATA: u8 = 0x04;
/// IIR: character timeout, the second priority as well.
pub const IIR_CHARACTER_TIMEOUT: u8 = 0x0c;
/// IIR: transmitter holding register empty, the third priority.
pub const IIR_THR_EMPTY: u8 = 0x02;
/// IIR: modem status, the last priority.
pub const IIR_MODEM_STATUS: u8 = 0x00;
/// IIR: both FIFOs are enabled.
pub const IIR_FIFOS: u8 = 0xc0;

/// FCR: FIFOs enabled (section 8.5). Without it no other bit of FCR is taken.
pub const FCR_ENABLE: u8 = 0x01;
/// FCR: empty the receiver FIFO; clears itself.
pub const FCR_RESET_RX: u8 = 0x02;
/// FCR: empty the transmitter FIFO; clears itself.
pub const FCR_RESET_TX: u8 = 0x04;
/// FCR: the bits that stay: enable, DMA mode, trigger level.
pub const FCR_KEPT: u8 = 0xc9;
/// Receiver trigger levels in bytes, by FCR bits 7 and 6.
pub const TRIGGER_LEVELS: [usize; 4] = [1, 4, 8, 14];

/// LCR: send a break (section 8.1).
pub const LCR_BREAK: u8 = 0x40;
/// LCR: offsets 0 and 1 are the divisor.
pub const LCR_DLAB: u8 = 0x80;

/// MCR: data terminal ready (section 8.8).
pub const MCR_DTR: u8 = 0x01;
/// MCR: request to send.
pub const MCR_RTS: u8 = 0x02;
/// MCR: output 1.
pub const MCR_OUT1: u8 = 0x04;
/// MCR: output 2; on a PC it connects the interrupt line.
pub const MCR_OUT2: u8 = 0x08;
/// MCR: loopback.
pub const MCR_LOOP: u8 = 0x10;
/// MCR: the bits that exist.
pub const MCR_MASK: u8 = 0x1f;

/// LSR: data ready (section 8.4).
pub const LSR_DATA_READY: u8 = 0x01;
/// LSR: overrun.
pub const LSR_OVERRUN: u8 = 0x02;
/// LSR: break received.
pub const LSR_BREAK: u8 = 0x10;
/// LSR: overrun, parity, framing and break: what makes a line status interrupt.
pub const LSR_ERRORS: u8 = 0x1e;
/// LSR: transmitter holding register or FIFO empty.
pub const LSR_THR_EMPTY: u8 = 0x20;
/// LSR: the shift register is empty too.
pub const LSR_IDLE: u8 = 0x40;
/// LSR: an error somewhere in the receiver FIFO.
pub const LSR_FIFO_ERROR: u8 = 0x80;

/// MSR: CTS changed (section 8.9).
pub const MSR_DELTA_CTS: u8 = 0x01;
/// MSR: ring indicator went off.
pub const MSR_TRAILING_RI: u8 = 0x04;
/// MSR: all changes.
pub const MSR_DELTAS: u8 = 0x0f;
/// MSR: clear to send.
pub const MSR_CTS: u8 = 0x10;
/// MSR: data set ready.
pub const MSR_DSR: u8 = 0x20;
/// MSR: ring indicator.
pub const MSR_RI: u8 = 0x40;
/// MSR: data carrier detect.
pub const MSR_DCD: u8 = 0x80;

/// Bytes a FIFO holds.
pub const FIFO_SIZE: usize = 16;
/// Divisor at power-on: 9600 baud from 1.8432 MHz, as PC firmware leaves it.
pub const DEFAULT_DIVISOR: u16 = 12;
