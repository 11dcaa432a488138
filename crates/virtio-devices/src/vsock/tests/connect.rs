use std::io::{Read, Write};

use super::super::spec::{TYPE_STREAM, op};
use super::*;

#[test]
fn the_configuration_is_the_cid() {
    let directory = Directory::new();
    let (_vsock, guest) = directory.guest();
    assert_eq!(guest.driver.config::<8>(0), CID.to_le_bytes());
    assert_eq!(guest.driver.config::<8>(4), [0; 8]);
}

#[test]
fn a_host_program_reaches_a_port_of_the_guest() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.guest();
    let mut stream = directory.connect(52);
    let key = guest.accept(52);
    assert_eq!(read_ok(&stream), key.1);
    guest.send_data(key, b"from the guest");
    let mut bytes = [0; 14];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"from the guest");
    stream.write_all(b"from the host").unwrap();
    let peer = guest.until(key, |peer| peer.data.len() >= 13);
    assert_eq!(peer.data, b"from the host");
    let stats = vsock.stats();
    assert_eq!((stats.opened_by_host, stats.connections), (1, 1));
    assert_eq!((stats.rx_bytes, stats.tx_bytes), (13, 14));
}

#[test]
fn what_follows_the_first_line_at_once_is_data() {
    let directory = Directory::new();
    let (_vsock, mut guest) = directory.guest();
    let mut stream = UnixStream::connect(directory.socket()).unwrap();
    stream.write_all(b"CONNECT 7\nand more").unwrap();
    let key = guest.accept(7);
    let peer = guest.until(key, |peer| peer.data.len() >= 8);
    assert_eq!(peer.data, b"and more");
}

#[test]
fn the_guest_reaches_a_program_of_the_host() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.guest();
    let listener = directory.listen(80);
    let key = guest.connect(1024, 80);
    assert!(guest.peer(key).is_open);
    let (mut stream, _) = listener.accept().unwrap();
    guest.send_data(key, b"hello");
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
    stream.write_all(b"hi").unwrap();
    let peer = guest.until(key, |peer| peer.data.len() == 2);
    assert_eq!(peer.data, b"hi");
    assert_eq!(vsock.stats().opened_by_guest, 1);
}

#[test]
fn a_port_without_a_listener_is_refused_by_rst() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.guest();
    let key = guest.connect(1024, 81);
    assert!(guest.peer(key).is_reset);
    assert_eq!((vsock.stats().refused, vsock.stats().connections), (1, 0));
}

#[test]
fn a_host_program_is_closed_when_the_guest_refuses() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.guest();
    let mut stream = directory.connect(9);
    let (header, _) = guest.next();
    assert_eq!((header.op, header.dst_port), (op::REQUEST, 9));
    guest.send((9, header.src_port), op::RST);
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"");
    assert_eq!((vsock.stats().refused, vsock.stats().connections), (1, 0));
}

#[test]
fn a_request_that_the_guest_does_not_answer_ends_after_a_time() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.hasty_guest();
    let mut stream = directory.connect(9);
    let (header, _) = guest.next();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"");
    // The guest is told, for it may only have been slow.
    guest.until((9, header.src_port), |peer| peer.is_reset);
    assert_eq!(vsock.stats().timed_out, 1);
}

#[test]
fn a_program_that_says_nothing_is_closed_after_a_time() {
    let directory = Directory::new();
    let (vsock, _guest) = directory.hasty_guest();
    let mut stream = UnixStream::connect(directory.socket()).unwrap();
    stream.write_all(b"CONN").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"");
    assert_eq!(vsock.stats().timed_out, 1);
}

#[test]
fn host_ports_differ() {
    let directory = Directory::new();
    let (_vsock, mut guest) = directory.guest();
    let streams: Vec<_> = (0..20).map(|_| directory.connect(5)).collect();
    let mut ports: Vec<u32> = streams.iter().map(|_| guest.accept(5).1).collect();
    let mut told: Vec<u32> = streams.iter().map(read_ok).collect();
    ports.sort_unstable();
    told.sort_unstable();
    assert_eq!(ports, told);
    ports.dedup();
    assert_eq!(ports.len(), 20);
}

#[test]
fn what_is_unknown_is_answered_by_rst_and_an_rst_by_nothing() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.guest();
    for op in [2, 4, 5, 6, 7, 0, 8, 65535] {
        let key = (100 + u32::from(op), 200);
        guest.send(key, op);
        let (header, _) = guest.next();
        assert_eq!(
            (header.op, header.dst_port, header.kind),
            (op::RST, key.0, TYPE_STREAM)
        );
    }
    // SEQPACKET, and a type that nobody knows: refused with the same type (5.10.6.4).
    for kind in [2, 0, 77] {
        let mut header = guest.header((1, 2), op::REQUEST);
        header.kind = kind;
        guest.send_raw(&header, &[]);
        let (header, _) = guest.next();
        assert_eq!((header.op, header.kind), (op::RST, kind));
        guest.peers.clear();
    }
    let resets = vsock.stats().resets;
    guest.send((1, 2), op::RST);
    assert_eq!(vsock.stats().resets, resets);
    assert_eq!(guest.look(), None);
}

#[test]
fn packets_of_another_cid_or_without_a_whole_header_are_dropped() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.guest();
    let good = guest.header((1, 2), op::REQUEST);
    for (src_cid, dst_cid) in [(4, 2), (CID, 1), (CID, 3), (CID | 1 << 32, 2)] {
        let header = VsockHeader {
            src_cid,
            dst_cid,
            ..good
        };
        guest.send_raw(&header, &[]);
    }
    guest
        .driver
        .request(1, &[&good.to_bytes()[..43]], &[])
        .unwrap();
    guest.driver.request(1, &[], &[100]).unwrap();
    assert_eq!(vsock.stats().malformed_packets, 6);
    assert_eq!(guest.look(), None);
}

#[test]
fn there_are_at_most_1023_connections() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.guest();
    // Both ends of each connection are in this process; the limit may be lower than they need.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if limit.current.is_some_and(|limit| limit < 2200) {
        rustix::process::setrlimit(
            rustix::process::Resource::Nofile,
            rustix::process::Rlimit {
                current: limit.maximum,
                maximum: limit.maximum,
            },
        )
        .unwrap();
    }
    let listener = directory.listen(80);
    let mut streams = Vec::new();
    for port in 0..1023 {
        let key = guest.connect(port, 80);
        assert!(guest.peer(key).is_open, "{port}");
        streams.push(listener.accept().unwrap());
    }
    assert!({
        let key = guest.connect(2000, 80);
        guest.peer(key).is_reset
    });
    // A host program is closed, for there is no room for it.
    let mut stream = UnixStream::connect(directory.socket()).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert_eq!(
        (vsock.stats().connections, vsock.stats().refused),
        (1023, 2)
    );
    guest.send((5, 80), op::RST);
    let key = guest.connect(2000, 80);
    assert!(guest.peer(key).is_open);
}
