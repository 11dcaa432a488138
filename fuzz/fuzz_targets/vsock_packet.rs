//! Any bytes as packets of a guest to a socket device with one host program, and as the first line
//! of a host program: no panic, every packet is given back, and headers are what was written.
#![no_main]

use std::os::unix::net::UnixListener;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use vmmkit_virtio::fake::Driver;
use vmmkit_virtio_devices::{Vsock, VsockConfig, VsockHeader, parse_connect};

const CID: u64 = 3;
const RX: u16 = 0;
const TX: u16 = 1;
const BUFFERS: usize = 64;

fuzz_target!(|data: &[u8]| {
    if let Some(port) = parse_connect(data) {
        assert!(String::from_utf8_lossy(data).contains(&port.to_string()));
    }
    if let Some(header) = VsockHeader::parse(data) {
        assert_eq!(header.to_bytes(), data[..VsockHeader::SIZE]);
    }
    let directory = std::env::temp_dir().join(format!("vsock-fuzz-{}", std::process::id()));
    let _ = std::fs::create_dir(&directory);
    let socket = directory.join("v.sock");
    let vsock = Vsock::new(VsockConfig {
        cid: CID,
        socket: socket.clone(),
    });
    let program = directory.join("v.sock_1");
    let listener = UnixListener::bind(&program).unwrap();
    let vsock = Arc::new(vsock.unwrap());
    let mut driver = Driver::start(vsock.clone()).unwrap();
    for _ in 0..BUFFERS {
        driver.add(RX, &[], &[4096]).unwrap();
    }
    driver.kick(RX);
    // Packets of a length byte each. The CIDs are right but for one packet in 16.
    // No more of them than there are buffers for answers, so that none is kept waiting.
    let mut rest = data;
    for _ in 0..BUFFERS {
        let Some((length, more)) = rest.split_first() else {
            break;
        };
        let (bytes, more) = more.split_at(more.len().min(1 + usize::from(*length)));
        rest = more;
        let mut packet = bytes.to_vec();
        if length % 16 != 0 && packet.len() >= VsockHeader::SIZE {
            packet[..8].copy_from_slice(&CID.to_le_bytes());
            packet[8..16].copy_from_slice(&2_u64.to_le_bytes());
        }
        if packet.is_empty() {
            break;
        }
        driver.request(TX, &[&packet], &[]).unwrap();
    }
    assert!(vsock.stats().connections <= 1023);
    drop((driver, listener));
    let _ = std::fs::remove_file(program);
});
