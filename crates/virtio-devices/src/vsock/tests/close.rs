use std::io::{Read, Write};
use std::net::Shutdown;

use super::super::spec::{SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND, op};
use super::*;

/// A connection that the guest opened.
fn open(directory: &Directory, guest: &mut Guest, from: u32) -> ((u32, u32), UnixStream) {
    let listener = directory.listen(from);
    let key = guest.connect(from, from);
    let (stream, _) = listener.accept().unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    (key, stream)
}

#[test]
fn the_end_of_a_host_program_is_a_half_close() {
    let directory = Directory::new();
    let (_vsock, mut guest) = directory.guest();
    let (key, mut stream) = open(&directory, &mut guest, 80);
    stream.write_all(b"question").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let peer = guest.until(key, |peer| peer.shut != 0);
    assert_eq!(
        (peer.shut, &peer.data[..]),
        (SHUTDOWN_SEND, &b"question"[..])
    );
    // The other direction is open.
    guest.send_data(key, b"answer");
    guest.shut(key, SHUTDOWN_BOTH);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"answer");
    guest.until(key, |peer| peer.is_reset);
}

#[test]
fn the_guests_half_close_is_the_end_for_the_host_program() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.guest();
    let (key, mut stream) = open(&directory, &mut guest, 80);
    guest.send_data(key, b"question");
    guest.shut(key, SHUTDOWN_SEND);
    let mut question = Vec::new();
    stream.read_to_end(&mut question).unwrap();
    assert_eq!(question, b"question");
    stream.write_all(b"answer").unwrap();
    drop(stream);
    let peer = guest.until(key, |peer| peer.shut == SHUTDOWN_BOTH);
    assert_eq!(peer.data, b"answer");
    guest.send(key, op::RST);
    guest.sync();
    assert!(!guest.peer(key).is_reset);
    assert_eq!(vsock.stats().connections, 0);
}

#[test]
fn a_program_that_is_gone_shuts_both_down() {
    let directory = Directory::new();
    let (_vsock, mut guest) = directory.guest();
    let (key, mut stream) = open(&directory, &mut guest, 80);
    stream.write_all(b"last words").unwrap();
    drop(stream);
    let peer = guest.until(key, |peer| peer.shut == SHUTDOWN_BOTH);
    assert_eq!(peer.data, b"last words");
}

#[test]
fn a_guest_that_does_not_answer_the_last_shutdown_is_reset_after_a_time() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.hasty_guest();
    let (key, stream) = open(&directory, &mut guest, 80);
    drop(stream);
    guest.until(key, |peer| peer.is_reset);
    assert_eq!((vsock.stats().timed_out, vsock.stats().connections), (1, 0));
}

#[test]
fn a_guest_that_receives_no_more_breaks_the_programs_pipe() {
    let directory = Directory::new();
    let (_vsock, mut guest) = directory.guest();
    let (key, mut stream) = open(&directory, &mut guest, 80);
    guest.shut(key, SHUTDOWN_RECEIVE);
    let error = stream.write_all(b"lost").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    guest.send_data(key, b"still sending");
    let mut bytes = [0; 13];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"still sending");
    drop(stream);
    guest.until(key, |peer| peer.shut == SHUTDOWN_BOTH);
}

#[test]
fn an_rst_of_the_guest_ends_it_at_once() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.guest();
    let (key, mut stream) = open(&directory, &mut guest, 80);
    guest.send(key, op::RST);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert_eq!(vsock.stats().connections, 0);
    guest.sync();
    assert!(!guest.peer(key).is_reset);
}

#[test]
fn what_the_guest_sent_before_it_closed_reaches_a_slow_program() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.guest();
    let (key, mut stream) = open(&directory, &mut guest, 80);
    let mut sent = 0;
    // Until the socket is full, and some more is held.
    while sent < 1 << 20 && guest.peer(key).credit() >= 4096 {
        guest.send_data(key, &pattern(sent, 4096));
        sent += 4096;
        while guest.look().is_some() {}
    }
    guest.shut(key, SHUTDOWN_BOTH);
    // The guest is done at once, and may use the port for another connection.
    guest.until(key, |peer| peer.is_reset);
    assert_eq!(vsock.stats().connections, 1);
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert!(bytes == pattern(0, sent));
}

#[test]
fn a_program_that_takes_nothing_after_the_guest_has_closed_is_left_after_a_time() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.hasty_guest();
    let (key, mut stream) = open(&directory, &mut guest, 80);
    while guest.peer(key).credit() >= 4096 {
        guest.send_data(key, &[1; 4096]);
        while guest.look().is_some() {}
    }
    let sent = vsock.stats().tx_bytes;
    guest.shut(key, SHUTDOWN_BOTH);
    while vsock.stats().connections > 0 {
        std::thread::yield_now();
    }
    assert_eq!(vsock.stats().timed_out, 1);
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert!((bytes.len() as u64) < sent);
}

#[test]
fn packets_that_may_not_come_reset_the_connection() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.guest();
    let listener = directory.listen(80);
    let breaks = [op::REQUEST, op::RESPONSE, 0, 9];
    for (from, op) in (1..).zip(breaks) {
        let key = guest.connect(from, 80);
        let (mut stream, _) = listener.accept().unwrap();
        guest.send(key, op);
        guest.until(key, |peer| peer.is_reset);
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    // Data after the end of data, and data that are not there.
    let key = guest.connect(20, 80);
    guest.shut(key, SHUTDOWN_SEND);
    guest.send_data(key, b"more");
    guest.until(key, |peer| peer.is_reset);
    let key = guest.connect(21, 80);
    let mut header = guest.header(key, op::RW);
    header.len = 5;
    guest.send_raw(&header, b"four");
    guest.until(key, |peer| peer.is_reset);
    assert_eq!(vsock.stats().broken_packets, 6);
    assert_eq!(vsock.stats().connections, 0);
}
