//! Any sequence of control messages, clients, sizes and resets over the ports of a console: what the
//! device says is bounded and well formed, and only ports that are there are open.
//!
//! One operation is 9 bytes: what (modulo 5), and a control message, which is also the port and the
//! values of the others.

use vmmkit_virtio_devices::{ConsoleMessage, PortControl};

const PORTS: usize = 4;
/// Bytes of a control message without what follows.
const HEADER: usize = 8;

fn control() -> PortControl {
    PortControl::new((0..PORTS).map(|port| ("n".repeat(port), port == 2)))
}

/// Takes all that the device has to say.
fn listen(control: &mut PortControl, bytes: &mut Vec<u8>) {
    let mut count = 0;
    while let Some(message) = control.next(bytes) {
        assert!((HEADER..HEADER + 5).contains(&bytes.len()));
        assert!(usize::from(bytes[0]) < PORTS && bytes[1..4] == [0; 3]);
        control.sent(message);
        count += 1;
        assert!(count <= 5 * PORTS);
    }
}

/// Takes one input.
pub fn run(data: &[u8]) {
    let (mut control, mut bytes) = (control(), Vec::new());
    let _ = ConsoleMessage::parse(data);
    for operation in data.chunks(1 + HEADER) {
        let Some((what, message)) = operation.split_first() else {
            continue;
        };
        let byte = |index: usize| message.get(index).copied().unwrap_or(0);
        match what % 5 {
            0 => {
                let means = control.receive(message);
                assert!(!means || ConsoleMessage::parse(message).is_some());
            }
            1 => control.set_connected(usize::from(byte(0)), byte(6) & 1 != 0),
            2 => control.resize(byte(4).into(), byte(6).into()),
            3 => control.reset(),
            _ => listen(&mut control, &mut bytes),
        }
        assert!(!control.is_open(PORTS));
    }
    listen(&mut control, &mut bytes);
    assert!(control.next(&mut bytes).is_none());
}
