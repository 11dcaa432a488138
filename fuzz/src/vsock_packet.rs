//! Any bytes as packets of a guest to a socket device with one host program, and as the first line
//! of a host program: no panic, every packet is given back, and headers are what was written.

use std::os::unix::net::UnixListener;
use std::sync::Arc;

use vmmkit_guest_memory::{RamConfig, RamSize};
use vmmkit_virtio::fake::{Driver, Options};
use vmmkit_virtio_devices::{Vsock, VsockConfig, VsockHeader, parse_connect};

const CID: u64 = 3;
const RX: u16 = 0;
const TX: u16 = 1;
const BUFFERS: u16 = 64;

/// Takes one input.
pub fn run(data: &[u8]) {
    if let Some(port) = parse_connect(data) {
        assert!(String::from_utf8_lossy(data).contains(&port.to_string()));
    }
    if let Some(header) = VsockHeader::parse(data) {
        assert_eq!(header.to_bytes(), data[..VsockHeader::SIZE]);
    }
    let socket = std::env::temp_dir().join(format!("vsock-fuzz-{}", std::process::id()));
    let program = socket.with_file_name(format!("vsock-fuzz-{}_1", std::process::id()));
    let listener = UnixListener::bind(&program).unwrap();
    let vsock = Arc::new(Vsock::new(VsockConfig { cid: CID, socket }).unwrap());
    drive(&vsock, data);
    assert_eq!(vsock.stats().connections, 0);
    drop(listener);
    std::fs::remove_file(program).unwrap();
}

fn drive(vsock: &Arc<Vsock>, data: &[u8]) {
    let options = Options {
        queue_size: BUFFERS,
        ram: RamConfig {
            size: RamSize::mebibytes(4),
            ..RamConfig::default()
        },
        ..Options::default()
    };
    let mut driver = Driver::start_with(vsock.clone(), &options).unwrap();
    for _ in 0..BUFFERS {
        driver.add(RX, &[], &[4096]).unwrap();
    }
    driver.kick(RX);
    // Packets of a length byte each, no more of them than there are buffers for answers, so that
    // none is kept waiting. The CIDs are right but for one packet in 16.
    let mut rest = data;
    let mut packets = 0;
    while let (Some((length, more)), true) = (rest.split_first(), packets < BUFFERS) {
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
        driver.add(TX, &[&packet], &[]).unwrap();
        packets += 1;
    }
    driver.kick(TX);
    for _ in 0..packets {
        driver.wait(TX).unwrap();
    }
    assert!(vsock.stats().connections <= u64::from(BUFFERS));
}
