//! The same tests for both serial ports and both keyboard controllers: what a driver may rely on whichever
//! of them it finds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use vmmkit_device_bus::{
    DevicePio, Gsi, GuestRequest, IrqLine, Lifecycle, LineDriver, PioAddress, RequestSink,
    SaveState, SavedState, check_golden,
};

use crate::serial::spec::*;
use crate::{I8042, SerialOutput, SerialPort, SuperioI8042, SuperioSerial};

/// A serial port, whichever it is.
trait Port: DevicePio + Lifecycle + SaveState {
    fn power_on(output: Box<dyn SerialOutput>, line: IrqLine) -> Self;
    fn input(&self, bytes: &[u8]) -> usize;
}

impl Port for SerialPort {
    fn power_on(output: Box<dyn SerialOutput>, line: IrqLine) -> Self {
        Self::new(output, line)
    }
    fn input(&self, bytes: &[u8]) -> usize {
        self.receive(bytes)
    }
}

impl Port for SuperioSerial {
    fn power_on(output: Box<dyn SerialOutput>, line: IrqLine) -> Self {
        Self::new(output, line)
    }
    fn input(&self, bytes: &[u8]) -> usize {
        self.receive(bytes)
    }
}

#[derive(Default)]
struct Line {
    is_high: AtomicBool,
    edges: AtomicUsize,
}

impl LineDriver for Line {
    fn set_level(&self, _: Gsi, high: bool) {
        if high && !self.is_high.swap(high, Ordering::Relaxed) {
            self.edges.fetch_add(1, Ordering::Relaxed);
        }
        self.is_high.store(high, Ordering::Relaxed);
    }
}

#[derive(Clone, Default)]
struct Screen {
    bytes: Arc<Mutex<Vec<u8>>>,
    is_full: Arc<AtomicBool>,
}

impl SerialOutput for Screen {
    fn push(&mut self, byte: u8) -> bool {
        let has_room = !self.is_full.load(Ordering::Relaxed);
        if has_room {
            self.bytes.lock().push(byte);
        }
        has_room
    }
}

/// A port whose guest has enabled FIFOs and OUT2.
struct Rig<P> {
    port: P,
    line: Arc<Line>,
    screen: Screen,
}

impl<P: Port> Rig<P> {
    fn new() -> Self {
        let (line, screen) = (Arc::new(Line::default()), Screen::default());
        let port = P::power_on(Box::new(screen.clone()), IrqLine::new(line.clone(), Gsi(4)));
        let rig = Self { port, line, screen };
        rig.write(FCR, FCR_ENABLE);
        rig.write(MCR, MCR_OUT2);
        rig
    }

    fn write(&self, offset: u16, value: u8) {
        let base = PioAddress(SerialPort::PORT);
        self.port.pio_write(base, offset, &[value]);
    }

    fn read(&self, offset: u16) -> u8 {
        let mut byte = [0];
        let base = PioAddress(SerialPort::PORT);
        self.port.pio_read(base, offset, &mut byte);
        byte[0]
    }

    fn edges(&self) -> usize {
        self.line.edges.load(Ordering::Relaxed)
    }

    fn sends_and_receives(&self) {
        b"hello\n".iter().for_each(|byte| self.write(DATA, *byte));
        assert_eq!(&*self.screen.bytes.lock(), b"hello\n");
        assert_eq!(self.read(LSR), LSR_THR_EMPTY | LSR_IDLE);
        self.write(IER, IER_ERBFI);
        let before = self.edges();
        assert_eq!(self.port.input(b"ab"), 2);
        assert!(self.edges() > before, "no interrupt for input");
        assert_eq!(
            self.read(IIR) & 0b101,
            0b100,
            "received data or its timeout"
        );
        for expected in *b"ab" {
            assert_ne!(self.read(LSR) & LSR_DATA_READY, 0);
            assert_eq!(self.read(DATA), expected);
        }
        assert_eq!(self.read(LSR) & LSR_DATA_READY, 0);
        assert!(!self.line.is_high.load(Ordering::Relaxed));
    }

    fn interrupts_for_an_empty_transmitter(&self) {
        let before = self.edges();
        self.write(IER, IER_ETBEI);
        assert!(self.edges() > before, "no interrupt when it is enabled");
        assert_eq!(self.read(IIR) & 0xf, 0b0010);
        assert_eq!(self.read(IIR) & 0xf, IIR_NONE, "reading IIR clears it");
        let before = self.edges();
        self.write(DATA, b'x');
        assert!(self.edges() > before, "no interrupt after a byte");
        self.read(IIR);
        assert!(!self.line.is_high.load(Ordering::Relaxed));
    }

    fn has_its_registers(&self) {
        self.write(SCR, 0xa5);
        assert_eq!(self.read(SCR), 0xa5);
        self.write(LCR, LCR_DLAB | 3);
        self.write(DATA, 0x01);
        self.write(IER, 0x02);
        assert_eq!((self.read(DATA), self.read(IER)), (0x01, 0x02));
        self.write(LCR, 3);
        assert_eq!(self.read(IER), 0, "the divisor is not IER");
        assert!(self.screen.bytes.lock().is_empty(), "nor data");
        self.write(MCR, MCR_LOOP);
        self.write(DATA, b'l');
        assert_eq!(self.read(DATA), b'l', "loopback");
        assert!(self.screen.bytes.lock().is_empty());
    }

    fn takes_any_access_while_the_output_is_full(&self) {
        self.screen.is_full.store(true, Ordering::Relaxed);
        let base = PioAddress(SerialPort::PORT);
        for offset in [0, 1, 2, 3, 4, 5, 6, 7, 8, u16::MAX] {
            for length in 0..=4 {
                self.port.pio_write(base, offset, &[0xff; 4][..length]);
                self.port.pio_read(base, offset, &mut [0; 4][..length]);
            }
        }
    }

    fn is_reset(&self) {
        self.write(IER, IER_ERBFI);
        self.port.input(b"unread");
        self.write(SCR, 1);
        self.port.reset();
        assert_eq!((self.read(IER), self.read(SCR)), (0, 0));
        assert_eq!(self.read(LSR), LSR_THR_EMPTY | LSR_IDLE);
        assert!(!self.line.is_high.load(Ordering::Relaxed));
    }

    fn goes_on_in_another(&self) {
        self.write(IER, IER_ERBFI);
        self.write(SCR, 7);
        self.port.input(b"ab");
        let saved = self.port.save_state().unwrap().to_json();
        let other = Self::new();
        let before = other.edges();
        let saved = SavedState::from_json(saved.as_bytes()).unwrap();
        other.port.restore_state(&saved).unwrap();
        assert!(other.edges() > before, "the interrupt is still pending");
        assert_eq!((other.read(SCR), other.read(IER)), (7, IER_ERBFI));
        assert_eq!((other.read(DATA), other.read(DATA)), (b'a', b'b'));
    }
}

macro_rules! of_both {
    ($($test:ident),* $(,)?) => {$(
        #[test]
        fn $test() {
            Rig::<SerialPort>::new().$test();
            Rig::<SuperioSerial>::new().$test();
        }
    )*};
}

of_both!(
    sends_and_receives,
    interrupts_for_an_empty_transmitter,
    has_its_registers,
    takes_any_access_while_the_output_is_full,
    is_reset,
    goes_on_in_another,
);

#[test]
fn output_without_room_is_counted_by_the_small_port() {
    let rig = Rig::<SuperioSerial>::new();
    rig.screen.is_full.store(true, Ordering::Relaxed);
    rig.write(DATA, b'x');
    assert_eq!(rig.port.dropped(), 1);
    rig.screen.is_full.store(false, Ordering::Relaxed);
    rig.write(DATA, b'y');
    assert_eq!(
        (rig.port.dropped(), &*rig.screen.bytes.lock()),
        (1, &vec![b'y'])
    );
}

#[test]
fn more_input_than_there_is_room_for_is_left_to_its_owner() {
    let rig = Rig::<SuperioSerial>::new();
    assert_eq!(rig.port.input(&[b'x'; 100]), 64);
    assert_eq!((rig.port.input(b"y"), rig.port.room()), (0, 0));
    let json = rig.port.save_state().unwrap().to_json();
    let long = json.replacen("\"in_buffer\":[", "\"in_buffer\":[1,", 1);
    let long = SavedState::from_json(long.as_bytes()).unwrap();
    let refusal = rig.port.restore_state(&long).unwrap_err().to_string();
    assert_eq!(
        refusal,
        "serial-superio: in_buffer.length 65: must be from 0 to 64"
    );
}

#[test]
fn the_saved_forms_of_the_small_devices_load_for_ever() {
    let golden = include_str!("../../goldens/serial-superio.v1.json");
    check_golden(&Rig::<SuperioSerial>::new().port, golden).unwrap();
    let golden = include_str!("../../goldens/i8042-superio.v1.json");
    check_golden(&SuperioI8042::new(Arc::new(|_| ())), golden).unwrap();
}

#[test]
fn both_keyboard_controllers_reset_the_machine() {
    let resets = Arc::new(AtomicUsize::new(0));
    let sink: RequestSink = {
        let resets = resets.clone();
        Arc::new(move |request| {
            assert_eq!(request, GuestRequest::Reset);
            resets.fetch_add(1, Ordering::Relaxed);
        })
    };
    let own = I8042::new(IrqLine::unconnected(), sink.clone());
    let devices: [&dyn DevicePio; 2] = [&own, &SuperioI8042::new(sink)];
    for (count, device) in (1..).zip(devices) {
        let command = PioAddress(I8042::COMMAND_PORT);
        for base in [PioAddress(I8042::PORT), command] {
            device.pio_read(base, 0, &mut [0; 4]);
            device.pio_read(base, 0, &mut []);
            device.pio_write(base, 0, &[]);
        }
        device.pio_write(PioAddress(I8042::PORT), 0, &[0xfe]);
        assert_eq!(resets.load(Ordering::Relaxed), count - 1, "a byte of data");
        device.pio_write(command, 0, &[0xfe]);
        assert_eq!(resets.load(Ordering::Relaxed), count);
    }
}
