use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use proptest::prelude::*;
use vm_superio::Trigger;
use vm_superio::serial::{NoEvents, Serial};
use vmmkit_device_bus::{Gsi, LineDriver};

use super::super::spec::*;
use super::*;

#[derive(Default)]
struct Level(AtomicBool);
impl LineDriver for Level {
    fn set_level(&self, _: Gsi, high: bool) {
        assert_ne!(self.0.swap(high, Ordering::Relaxed), high, "told no change");
    }
}

struct Screen(Arc<Mutex<Vec<u8>>>);
impl SerialOutput for Screen {
    fn push(&mut self, byte: u8) -> bool {
        self.0.lock().push(byte);
        true
    }
}

struct Rig {
    port: SerialPort,
    level: Arc<Level>,
    screen: Arc<Mutex<Vec<u8>>>,
}

fn rig() -> Rig {
    let (level, screen) = (Arc::new(Level::default()), Arc::default());
    let output = Box::new(Screen(Arc::clone(&screen)));
    let port = SerialPort::new(output, IrqLine::new(level.clone(), Gsi(4)));
    Rig {
        port,
        level,
        screen,
    }
}

impl Rig {
    fn write(&self, offset: u16, value: u8) {
        self.port
            .pio_write(PioAddress(SerialPort::PORT), offset, &[value]);
    }
    fn read(&self, offset: u16) -> u8 {
        let mut byte = [0];
        self.port
            .pio_read(PioAddress(SerialPort::PORT), offset, &mut byte);
        byte[0]
    }
}

#[test]
fn owner_is_told_once_when_a_reader_appears_and_when_the_fifo_is_empty() {
    let rig = rig();
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    rig.port.on_room(Box::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    assert_eq!(rig.port.room(), 0);
    rig.write(MCR, MCR_OUT2);
    rig.write(IER, IER_ERBFI);
    assert_eq!(told.load(Ordering::Relaxed), 1);
    rig.write(IER, 0);
    rig.write(IER, IER_ERBFI);
    assert_eq!(
        told.load(Ordering::Relaxed),
        1,
        "nobody was refused in between"
    );
    assert_eq!(rig.port.receive(b"ab"), 1);
    rig.read(DATA);
    assert_eq!(told.load(Ordering::Relaxed), 2);
}

#[test]
fn every_byte_offered_arrives_once_and_in_order() {
    let rig = rig();
    rig.write(FCR, FCR_ENABLE);
    rig.write(IER, IER_ERBFI);
    let sent: Vec<u8> = (0..=255).collect();
    let (mut left, mut seen) = (sent.as_slice(), Vec::new());
    while seen.len() < sent.len() {
        left = &left[rig.port.receive(left)..];
        while rig.read(LSR) & LSR_DATA_READY != 0 {
            seen.push(rig.read(DATA));
        }
    }
    assert_eq!(seen, sent);
}

#[test]
fn callback_may_call_the_port() {
    let rig = Arc::new(rig());
    let weak = Arc::downgrade(&rig);
    rig.port.on_room(Box::new(move || {
        weak.upgrade().map(|rig| rig.port.receive(b"z"));
    }));
    rig.port.room();
    rig.write(MCR, MCR_OUT2);
    rig.write(IER, IER_ERBFI);
    assert_eq!(rig.read(DATA), b'z');
}

#[test]
fn reset_lowers_the_line_and_restore_raises_it() {
    let rig = rig();
    rig.write(MCR, MCR_OUT2);
    rig.write(IER, IER_ETBEI);
    let state = rig.port.state();
    rig.port.reset();
    assert!(!rig.level.0.load(Ordering::Relaxed));
    rig.port.restore(state.clone());
    assert!(rig.level.0.load(Ordering::Relaxed));
    assert_eq!(rig.port.state(), state);
}

struct Silent;
impl Trigger for Silent {
    type E = ();
    fn trigger(&self) -> Result<(), ()> {
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(u16, u8),
    Read(u16),
    Receive(Vec<u8>),
    Break,
    Reset,
    Restore,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<u16>().prop_map(|o| o % 9), any::<u8>()).prop_map(|(o, v)| Step::Write(o, v)),
        4 => (0..9_u16).prop_map(Step::Read),
        2 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Step::Receive),
        1 => Just(Step::Break),
        1 => Just(Step::Reset),
        1 => Just(Step::Restore),
    ]
}

proptest! {
    #[test]
    fn no_sequence_panics_and_the_line_is_iir_behind_out2(
        steps in prop::collection::vec(any_step(), 0..200)
    ) {
        let rig = rig();
        for step in steps {
            match step {
                Step::Write(offset, value) => rig.write(offset, value),
                Step::Read(offset) => { rig.read(offset); }
                Step::Receive(bytes) => { rig.port.receive(&bytes); }
                Step::Break => { rig.port.send_break(); }
                Step::Reset => rig.port.reset(),
                Step::Restore => {
                    let state = rig.port.state();
                    rig.port.restore(state.clone());
                    prop_assert_eq!(rig.port.state(), state);
                }
            }
            let open = rig.read(MCR) & (MCR_OUT2 | MCR_LOOP) == MCR_OUT2;
            let high = rig.level.0.load(Ordering::Relaxed);
            let pending = rig.read(IIR) & IIR_NONE == 0; // last: it clears THRE
            prop_assert_eq!(high, open && pending);
        }
    }

    /// With FIFOs enabled and outside loopback and interrupts, both are the same chip.
    #[test]
    fn agrees_with_vm_superio_where_that_is_right(
        steps in prop::collection::vec((0..7_u8, any::<u8>()), 0..200)
    ) {
        let rig = rig();
        let mut reference: Serial<Silent, NoEvents, Vec<u8>> = Serial::new(Silent, Vec::new());
        rig.write(FCR, FCR_ENABLE);
        rig.write(MCR, MCR_OUT2);
        rig.write(IER, IER_ERBFI);
        reference.write(1, IER_ERBFI).unwrap();
        for (kind, value) in steps {
            match kind {
                0 => {
                    rig.write(DATA, value);
                    reference.write(0, value).unwrap();
                }
                1 => {
                    if rig.port.receive(&[value]) == 1 {
                        reference.enqueue_raw_bytes(&[value]).unwrap();
                    }
                }
                2 => prop_assert_eq!(rig.read(DATA), reference.read(0)),
                3 => {
                    rig.write(SCR, value);
                    reference.write(7, value).unwrap();
                    prop_assert_eq!(rig.read(SCR), reference.read(7));
                }
                4 => {
                    for (offset, byte) in [(LCR, LCR_DLAB), (DATA, value), (IER, !value)] {
                        rig.write(offset, byte);
                        reference.write(offset as u8, byte).unwrap();
                    }
                    prop_assert_eq!(rig.read(DATA), reference.read(0));
                    prop_assert_eq!(rig.read(IER), reference.read(1));
                    rig.write(LCR, value & 0x3f);
                    reference.write(LCR as u8, value & 0x3f).unwrap();
                    prop_assert_eq!(rig.read(LCR), reference.read(LCR as u8));
                }
                5 => prop_assert_eq!(rig.read(MSR), reference.read(MSR as u8)),
                _ => prop_assert_eq!(rig.read(LSR), reference.read(LSR as u8)),
            }
        }
        prop_assert_eq!(&*rig.screen.lock(), reference.writer());
    }
}
