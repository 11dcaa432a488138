//! Data sent before an end arrives, whichever side ends first.

use std::io::{Read, Write};
use std::net::Shutdown;

use super::super::spec::{SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND, op};
use super::*;

/// A host program that asks for `port`, says `data` and is gone.
fn say_and_go(directory: &Directory, port: u32, data: &[u8]) {
    let mut stream = directory.connect(port);
    stream.write_all(data).unwrap();
}

#[test]
fn a_program_that_is_gone_before_the_guest_answers_is_heard() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.guest();
    for number in 0..20 {
        let data = pattern(number, 6 + 5000 * number);
        say_and_go(&directory, 5001, &data);
        let key = guest.accept(5001);
        let peer = guest.until(key, |peer| peer.shut == SHUTDOWN_BOTH);
        assert!(peer.data == data, "{number}: {} bytes", peer.data.len());
        assert!(!peer.is_reset);
        guest.send(key, op::RST);
    }
    assert_eq!(
        (vsock.stats().opened_by_host, vsock.stats().refused),
        (20, 0)
    );
    assert_eq!(vsock.stats().connections, 0);
}

#[test]
fn a_program_that_came_and_went_while_the_guest_was_paused_is_heard() {
    let directory = Directory::new();
    let (_vsock, mut guest) = directory.guest();
    guest.pause();
    say_and_go(&directory, 7, b"while you slept");
    guest.resume();
    let key = guest.accept(7);
    let peer = guest.until(key, |peer| peer.shut == SHUTDOWN_BOTH);
    assert_eq!(peer.data, b"while you slept");
}

#[test]
fn more_than_the_guest_has_room_for_waits_for_it_though_the_program_is_gone() {
    let directory = Directory::new();
    let (_vsock, mut guest) = directory.guest();
    guest.buf_alloc = 10_000;
    let data = pattern(0, 35_000);
    say_and_go(&directory, 7, &data);
    let key = guest.accept(7);
    let mut taken = Vec::new();
    while taken.len() < data.len() {
        let wanted = (data.len() - taken.len()).min(10_000);
        guest.until(key, |peer| peer.data.len() >= wanted);
        assert_eq!(guest.peer(key).shut, 0);
        taken.extend(guest.take(key));
    }
    assert!(taken == data);
    guest.until(key, |peer| peer.shut == SHUTDOWN_BOTH);
}

#[test]
fn a_guest_that_greets_first_still_hears_a_program_that_is_gone() {
    let directory = Directory::new();
    let (_vsock, mut guest) = directory.guest();
    guest.buf_alloc = 3;
    say_and_go(&directory, 7, b"question");
    let key = guest.accept(7);
    guest.until(key, |peer| peer.data.len() == 3);
    // Nobody takes it. The guest is not told so before it has all that was sent to it.
    guest.send_data(key, b"welcome");
    guest.sync();
    assert_eq!((guest.peer(key).shut, guest.peer(key).is_reset), (0, false));
    let mut heard = guest.take(key);
    while heard.len() < 8 {
        let wanted = 3.min(8 - heard.len());
        guest.until(key, |peer| peer.data.len() >= wanted);
        heard.extend(guest.take(key));
    }
    assert_eq!(heard, b"question");
    guest.until(key, |peer| peer.shut == SHUTDOWN_BOTH);
}

#[test]
fn a_program_that_takes_no_more_and_stays_is_told_to_the_guest() {
    let directory = Directory::new();
    let (_vsock, mut guest) = directory.guest();
    let mut stream = directory.connect(7);
    let key = guest.accept(7);
    read_ok(&stream);
    stream.shutdown(Shutdown::Read).unwrap();
    guest.send_data(key, b"unheard");
    guest.until(key, |peer| peer.shut == SHUTDOWN_RECEIVE);
    stream.write_all(b"still speaking").unwrap();
    let peer = guest.until(key, |peer| peer.data.len() == 14);
    assert_eq!(peer.data, b"still speaking");
}

#[test]
fn a_program_that_closed_without_reading_is_heard_to_its_end() {
    let directory = Directory::new();
    let (_vsock, mut guest) = directory.guest();
    guest.buf_alloc = 4;
    let mut stream = directory.connect(7);
    let key = guest.accept(7);
    stream.write_all(b"12345678").unwrap();
    guest.until(key, |peer| peer.data.len() == 4);
    // With "OK" unread the socket ends in ECONNRESET, and not before what was sent.
    drop(stream);
    guest.take(key);
    guest.until(key, |peer| peer.data.len() == 4);
    assert_eq!(guest.take(key), b"5678");
    guest.until(key, |peer| peer.shut == SHUTDOWN_BOTH);
}

/// Sends until the socket is full and some more is held here; what was sent.
fn fill(guest: &mut Guest, key: (u32, u32)) -> usize {
    let mut sent = 0;
    while guest.peer(key).credit() >= 4096 {
        guest.send_data(key, &pattern(sent, 4096));
        sent += 4096;
        while guest.look().is_some() {}
    }
    sent
}

#[test]
fn what_the_guest_sent_before_it_reset_the_connection_reaches_a_slow_program() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.guest();
    let listener = directory.listen(80);
    let key = guest.connect(80, 80);
    let (mut stream, _) = listener.accept().unwrap();
    let sent = fill(&mut guest, key);
    guest.send(key, op::RST);
    // The port is free at once, and nobody is told of an end twice.
    assert_eq!(vsock.stats().resets, 0);
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert!(bytes == pattern(0, sent));
    let again = guest.connect(80, 80);
    assert!(guest.peer(again).is_open);
}

#[test]
fn a_guest_that_connects_sends_and_closes_at_once_is_heard() {
    let directory = Directory::new();
    let (_vsock, mut guest) = directory.guest();
    let listener = directory.listen(80);
    for from in 0..20 {
        let key = guest.connect(from, 80);
        guest.send_data(key, b"in passing");
        let flags = [SHUTDOWN_BOTH, SHUTDOWN_SEND][from as usize % 2];
        guest.shut(key, flags);
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"in passing");
    }
}
