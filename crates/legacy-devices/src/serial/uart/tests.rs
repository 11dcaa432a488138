use super::*;

/// A sink with room for some bytes.
struct Sink {
    bytes: Vec<u8>,
    room: usize,
}

impl SerialOutput for Sink {
    fn push(&mut self, byte: u8) -> bool {
        let fits = self.bytes.len() < self.room;
        if fits {
            self.bytes.push(byte);
        }
        fits
    }
}

/// A chip with its sink.
struct Rig {
    uart: Uart,
    sink: Sink,
}

impl Rig {
    fn new() -> Self {
        Self {
            uart: Uart::default(),
            sink: Sink {
                bytes: Vec::new(),
                room: usize::MAX,
            },
        }
    }

    /// A chip with FIFOs, this trigger level in FCR, and these interrupts, let through by OUT2.
    fn with_fifos(fcr: u8, ier: u8) -> Self {
        let mut rig = Self::new();
        rig.write(MCR, MCR_OUT2);
        rig.write(FCR, FCR_ENABLE | fcr);
        rig.write(IER, ier);
        rig
    }

    fn write(&mut self, offset: u16, value: u8) {
        self.uart.write(offset, value, &mut self.sink);
    }

    fn read(&mut self, offset: u16) -> u8 {
        self.uart.read(offset)
    }
}

#[test]
fn fifo_bits_of_iir_show_only_enabled_fifos_8_6() {
    let mut rig = Rig::new();
    assert_eq!(rig.read(IIR), IIR_NONE);
    rig.write(FCR, FCR_ENABLE);
    assert_eq!(rig.read(IIR), IIR_NONE | IIR_FIFOS);
}

#[test]
fn causes_are_reported_one_by_one_by_priority_8_6_table_iv() {
    let mut rig = Rig::with_fifos(0, IER_MASK);
    rig.write(MCR, MCR_LOOP | MCR_RTS); // DSR and DCD went off
    rig.write(LCR, LCR_BREAK);
    assert_eq!(rig.read(IIR) & 0xf, IIR_LINE_STATUS);
    rig.read(LSR);
    assert_eq!(rig.read(IIR) & 0xf, IIR_RECEIVED_DATA);
    rig.read(DATA);
    assert_eq!(rig.read(IIR) & 0xf, IIR_THR_EMPTY);
    assert_eq!(rig.read(IIR) & 0xf, IIR_MODEM_STATUS);
    rig.read(MSR);
    assert_eq!(rig.read(IIR) & 0xf, IIR_NONE);
}

#[test]
fn received_data_stays_pending_while_bytes_remain_8_6() {
    let mut rig = Rig::with_fifos(0, IER_ERBFI);
    assert_eq!(rig.uart.receive(b"ab"), 2);
    assert_eq!(rig.read(IIR) & 0xf, IIR_RECEIVED_DATA);
    assert_eq!(rig.read(DATA), b'a');
    assert_eq!(rig.read(IIR) & 0xf, IIR_RECEIVED_DATA);
    assert_eq!(rig.read(DATA), b'b');
    assert_eq!(rig.read(IIR) & 0xf, IIR_NONE);
}

#[test]
fn bytes_below_the_trigger_level_are_a_character_timeout_8_11() {
    let mut rig = Rig::with_fifos(0x80, IER_ERBFI);
    rig.uart.receive(b"1234567");
    assert_eq!(rig.read(IIR) & 0xf, IIR_CHARACTER_TIMEOUT);
    rig.uart.receive(b"8");
    assert_eq!(rig.read(IIR) & 0xf, IIR_RECEIVED_DATA);
}

#[test]
fn thr_empty_is_cleared_by_reading_iir_and_raised_by_the_next_byte_8_6() {
    let mut rig = Rig::with_fifos(0, IER_ETBEI);
    assert_eq!(rig.read(IIR) & 0xf, IIR_THR_EMPTY);
    assert_eq!(rig.read(IIR) & 0xf, IIR_NONE);
    rig.write(DATA, b'x');
    assert_eq!(rig.read(IIR) & 0xf, IIR_THR_EMPTY);
}

#[test]
fn full_sink_holds_sixteen_bytes_and_drops_the_next() {
    let mut rig = Rig::with_fifos(0, IER_ETBEI);
    rig.sink.room = 0;
    for byte in 0..17 {
        rig.write(DATA, byte);
    }
    assert_eq!(rig.read(LSR) & (LSR_THR_EMPTY | LSR_IDLE), 0);
    assert_eq!((rig.uart.pending(), rig.uart.dropped), (IIR_NONE, 1));
    rig.sink.room = usize::MAX;
    rig.uart.drain(&mut rig.sink);
    assert_eq!(rig.sink.bytes, (0..16).collect::<Vec<u8>>());
    assert_eq!(rig.uart.pending(), IIR_THR_EMPTY);
}

#[test]
fn fcr_resets_each_fifo_alone_and_nothing_without_enable_8_5() {
    let mut rig = Rig::with_fifos(0, IER_ERBFI);
    rig.uart.receive(b"a");
    rig.write(FCR, FCR_ENABLE | FCR_RESET_TX);
    assert_eq!(rig.read(LSR) & LSR_DATA_READY, LSR_DATA_READY);
    rig.write(FCR, FCR_ENABLE | FCR_RESET_RX);
    assert_eq!(rig.read(LSR) & LSR_DATA_READY, 0);
    rig.write(FCR, 0xc0);
    assert_eq!(rig.uart.state.fifo_control, 0);
}

#[test]
fn a_byte_from_before_the_fifos_is_kept_when_they_are_enabled() {
    let mut rig = Rig::new();
    rig.write(MCR, MCR_OUT2);
    rig.write(IER, IER_ERBFI);
    assert_eq!(rig.uart.receive(b"ab"), 1);
    rig.write(FCR, FCR_ENABLE);
    assert_eq!(rig.read(DATA), b'a');
}

#[test]
fn full_fifo_keeps_the_oldest_bytes_and_reports_overrun_8_4() {
    let mut rig = Rig::with_fifos(0, 0);
    rig.write(MCR, MCR_LOOP);
    for byte in 0..17 {
        rig.write(DATA, byte);
    }
    assert_eq!(rig.read(LSR) & LSR_OVERRUN, LSR_OVERRUN);
    assert_eq!(rig.read(LSR) & LSR_OVERRUN, 0);
    assert_eq!(rig.read(DATA), 0);
    assert!(rig.sink.bytes.is_empty());
}

#[test]
fn without_fifos_an_overrun_replaces_the_byte_8_4() {
    let mut rig = Rig::new();
    rig.write(MCR, MCR_LOOP);
    rig.write(DATA, b'a');
    rig.write(DATA, b'b');
    assert_eq!(rig.read(LSR) & LSR_OVERRUN, LSR_OVERRUN);
    assert_eq!(rig.read(DATA), b'b');
}

#[test]
fn break_shows_when_its_byte_is_the_oldest_8_4() {
    let mut rig = Rig::with_fifos(0, IER_ERBFI | IER_ELSI);
    rig.uart.receive(b"a");
    assert!(rig.uart.receive_break());
    let status = rig.read(LSR);
    assert_eq!(status & (LSR_BREAK | LSR_FIFO_ERROR), LSR_FIFO_ERROR);
    rig.read(DATA);
    assert_eq!(rig.read(IIR) & 0xf, IIR_LINE_STATUS);
    assert_eq!(rig.read(LSR) & LSR_BREAK, LSR_BREAK);
    assert_eq!(rig.read(DATA), 0);
}

#[test]
fn loopback_connects_outputs_to_inputs_and_marks_changes_8_8() {
    let mut rig = Rig::new();
    rig.write(MCR, MCR_LOOP | MCR_RTS | MCR_OUT2);
    assert_eq!(rig.read(MSR), MSR_CTS | MSR_DCD | 0x02); // DSR went off
    rig.write(MCR, MCR_LOOP | MCR_OUT1);
    assert_eq!(rig.read(MSR), MSR_RI | MSR_DELTA_CTS | 0x08); // RI came: no trailing edge
    rig.write(MCR, MCR_LOOP);
    assert_eq!(rig.read(MSR), MSR_TRAILING_RI);
}

#[test]
fn divisor_hides_data_and_interrupt_enable_8_1() {
    let mut rig = Rig::new();
    rig.write(LCR, LCR_DLAB | 3);
    rig.write(DATA, 1);
    rig.write(IER, 2);
    assert_eq!((rig.read(DATA), rig.read(IER)), (1, 2));
    rig.write(LCR, 3);
    assert_eq!((rig.read(IER), rig.uart.state.divisor), (0, 0x201));
    assert!(rig.sink.bytes.is_empty());
}

#[test]
fn nobody_reads_until_the_interrupt_is_enabled_or_sixteen_polls_8_7() {
    let mut rig = Rig::new();
    assert_eq!(rig.uart.receive(b"early"), 0);
    for _ in 0..15 {
        rig.read(LSR);
    }
    rig.read(SCR);
    rig.read(LSR);
    assert_eq!(rig.uart.room(), 0);
    for _ in 0..15 {
        rig.read(LSR);
    }
    assert_eq!(rig.uart.room(), 1);
    rig.write(IER, 0);
    assert_eq!(rig.uart.room(), 0);
    // A driver that probes the port does so without OUT2, and throws away what comes.
    rig.write(IER, IER_ERBFI);
    assert_eq!(rig.uart.room(), 0);
    rig.write(MCR, MCR_OUT2);
    assert_eq!(rig.uart.room(), 1);
}

#[test]
fn who_polls_and_looks_at_the_modem_lines_reads_8_4() {
    let mut rig = Rig::new();
    for poll in 0..16 {
        assert_eq!(rig.uart.room(), 0, "{poll}");
        for register in [MSR, MCR, LSR] {
            rig.read(register);
        }
    }
    assert_eq!(rig.uart.room(), 1);
}

#[test]
fn polling_for_a_full_transmitter_is_not_reading() {
    let mut rig = Rig::new();
    rig.sink.room = 0;
    rig.write(DATA, b'x');
    for _ in 0..100 {
        rig.read(LSR);
    }
    assert_eq!(rig.uart.room(), 0);
}

#[test]
fn out2_connects_the_line_but_not_in_loopback_8_8() {
    let mut rig = Rig::with_fifos(0, IER_ETBEI);
    rig.write(MCR, 0);
    assert!(!rig.uart.line());
    rig.write(MCR, MCR_OUT2);
    assert!(rig.uart.line());
    rig.write(MCR, MCR_OUT2 | MCR_LOOP);
    assert!(!rig.uart.line());
}
