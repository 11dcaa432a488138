//! Any sequence of accesses, input and output stalls on the serial port: no panic, the interrupt
//! line follows IIR and OUT2, and no accepted byte is lost outside FIFO resets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vmmkit_device_bus::{DevicePio, Gsi, IrqLine, LineDriver, PioAddress};
use vmmkit_legacy_devices::{SerialOutput, SerialPort};

#[derive(Default)]
struct Level(AtomicBool);

impl LineDriver for Level {
    fn set_level(&self, _: Gsi, high: bool) {
        self.0.store(high, Ordering::Relaxed);
    }
}

/// Has room or not, as the input says.
struct Sink(Arc<AtomicBool>);

impl SerialOutput for Sink {
    fn push(&mut self, _: u8) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Takes one input.
pub fn run(data: &[u8]) {
    let level = Arc::new(Level::default());
    let open = Arc::new(AtomicBool::new(true));
    let line = IrqLine::new(level.clone(), Gsi(4));
    let port = SerialPort::new(Box::new(Sink(open.clone())), line);
    port.on_room(Box::new(|| ()));
    let base = PioAddress(SerialPort::PORT);
    let read = |offset| {
        let mut byte = [0];
        port.pio_read(base, offset, &mut byte);
        byte[0]
    };
    for step in data.chunks_exact(2) {
        let (offset, value) = (u16::from(step[0] & 15), step[1]);
        match step[0] >> 4 {
            0..=5 => port.pio_write(base, offset, &[value]),
            6..=9 => {
                read(offset);
            }
            10 => {
                let room = port.room();
                let bytes = [value; 40];
                assert_eq!(
                    port.receive(&bytes[..usize::from(offset)]),
                    room.min(offset.into())
                );
            }
            11 => {
                port.send_break();
            }
            12 => open.store(value & 1 != 0, Ordering::Relaxed),
            13 => port.output_ready(),
            14 => port.pio_write(base, offset, &[value; 8]),
            _ => {
                let state = port.state();
                port.restore(state.clone());
                assert_eq!(port.state(), state);
            }
        }
        let gate = read(4) & 0x18 == 0x08;
        let high = level.0.load(Ordering::Relaxed);
        assert_eq!(high, gate && read(2) & 1 == 0);
    }
}
