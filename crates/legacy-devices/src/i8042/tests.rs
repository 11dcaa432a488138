use super::spec::*;
use super::*;
use std::sync::Arc;
use vmmkit_device_bus::{Gsi, LineDriver};

#[derive(Default)]
struct Edges(Mutex<Vec<bool>>);
impl LineDriver for Edges {
    fn set_level(&self, _: Gsi, high: bool) {
        self.0.lock().push(high);
    }
}

struct Rig {
    i8042: I8042,
    edges: Arc<Edges>,
    requests: Arc<Mutex<Vec<GuestRequest>>>,
}

fn rig() -> Rig {
    let edges = Arc::new(Edges::default());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let sink = requests.clone();
    let line = IrqLine::new(edges.clone(), Gsi(1));
    let i8042 = I8042::new(line, Arc::new(move |request| sink.lock().push(request)));
    Rig {
        i8042,
        edges,
        requests,
    }
}

impl Rig {
    fn write(&self, port: u16, value: u8) {
        self.i8042.pio_write(PioAddress(port), 0, &[value]);
    }
    fn read(&self, port: u16) -> u8 {
        let mut byte = [0];
        self.i8042.pio_read(PioAddress(port), 0, &mut byte);
        byte[0]
    }
    fn ask(&self, command: u8) -> u8 {
        self.write(COMMAND, command);
        assert_eq!(self.read(COMMAND) & STATUS_OUTPUT_FULL, STATUS_OUTPUT_FULL);
        self.read(DATA)
    }
}

#[test]
fn self_test_and_port_tests_answer_at_once() {
    let rig = rig();
    assert_eq!(rig.ask(SELF_TEST), SELF_TEST_PASSED);
    assert_eq!(rig.ask(TEST_KEYBOARD), PORT_TEST_PASSED);
    assert_eq!(rig.ask(TEST_AUX), PORT_TEST_FAILED);
    assert_eq!(rig.read(COMMAND) & STATUS_OUTPUT_FULL, 0);
}

#[test]
fn command_byte_reads_back_as_written() {
    let rig = rig();
    rig.write(COMMAND, WRITE_CTR);
    rig.write(DATA, 0x74);
    assert_eq!(rig.ask(READ_CTR), 0x74);
    rig.write(COMMAND, ENABLE_KEYBOARD);
    assert_eq!(rig.ask(READ_CTR), 0x64);
}

#[test]
fn reset_pulse_and_output_port_ask_for_a_reset() {
    let rig = rig();
    rig.write(COMMAND, 0xff);
    assert!(rig.requests.lock().is_empty());
    rig.write(COMMAND, 0xfe);
    rig.write(COMMAND, WRITE_OUTPUT_PORT);
    rig.write(DATA, 0x02);
    assert_eq!(*rig.requests.lock(), [GuestRequest::Reset; 2]);
}

#[test]
fn ctrl_alt_del_is_an_edge_for_each_scan_code() {
    let rig = rig();
    assert!(rig.i8042.ctrl_alt_del());
    let codes: Vec<u8> = (0..8).map(|_| rig.read(DATA)).collect();
    assert_eq!(codes, CTRL_ALT_DEL_SET_1);
    assert_eq!(*rig.edges.0.lock(), [true, false].repeat(8));
}

#[test]
fn ctrl_alt_del_is_refused_while_the_keyboard_is_off_or_full() {
    let rig = rig();
    assert!(rig.i8042.ctrl_alt_del() && rig.i8042.ctrl_alt_del());
    assert!(!rig.i8042.ctrl_alt_del());
    rig.i8042.reset();
    rig.write(COMMAND, DISABLE_KEYBOARD);
    assert!(!rig.i8042.ctrl_alt_del());
}

#[test]
fn keyboard_acknowledges_what_drivers_ask() {
    let rig = rig();
    rig.write(DATA, KEYBOARD_IDENTIFY);
    assert_eq!(
        [rig.read(DATA), rig.read(DATA), rig.read(DATA)],
        [KEYBOARD_ACK, 0xab, 0x41]
    );
    rig.write(DATA, KEYBOARD_LIGHTS);
    rig.write(DATA, KEYBOARD_IDENTIFY); // data of the command before
    assert_eq!(
        [rig.read(DATA), rig.read(DATA), rig.read(DATA)],
        [KEYBOARD_ACK, KEYBOARD_ACK, 0]
    );
}

#[test]
fn state_survives_a_round_trip() {
    let rig = rig();
    rig.write(COMMAND, WRITE_CTR);
    rig.i8042.ctrl_alt_del();
    let state = rig.i8042.state();
    rig.i8042.reset();
    rig.i8042.restore(state.clone());
    assert_eq!(rig.i8042.state(), state);
}
