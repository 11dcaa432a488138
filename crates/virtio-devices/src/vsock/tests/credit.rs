use std::io::{Read, Write};
use std::thread;

use super::super::credit::{BUF_ALLOC, Credit};
use super::super::spec::op;
use super::*;

fn told(buf_alloc: u32, fwd_cnt: u32) -> VsockHeader {
    VsockHeader {
        buf_alloc,
        fwd_cnt,
        ..VsockHeader::default()
    }
}

#[test]
fn counts_go_round_at_2_to_the_32() {
    let mut credit = Credit::default();
    credit.update(&told(1000, 0));
    let mut total: u32 = 0;
    for _ in 0..70_000 {
        assert_eq!(credit.free(), 1000);
        credit.sent(1000);
        assert_eq!(credit.free(), 0);
        // 70,000 rounds of 65,536 each: beyond 2^32.
        credit.sent(64_536);
        total = total.wrapping_add(65_536);
        credit.update(&told(1000, total));
        assert!(credit.accept(65_536));
        let _ = credit.forwarded(65_536);
        assert_eq!(credit.tell().1, total);
    }
}

#[test]
fn a_guest_that_tells_nonsense_gets_nothing() {
    let mut credit = Credit::default();
    credit.update(&told(1000, 1));
    assert_eq!(credit.free(), 0);
    credit.update(&told(u32::MAX, u32::MAX));
    assert_eq!(credit.free(), u32::MAX - 1);
    credit.update(&told(10, 0));
    credit.sent(5);
    // The buffer became smaller than what is under way.
    credit.update(&told(3, 0));
    assert_eq!(credit.free(), 0);
}

#[test]
fn the_guest_may_send_what_it_was_told_and_no_more() {
    let mut credit = Credit::default();
    assert!(credit.accept(BUF_ALLOC - 1));
    assert!(!credit.accept(2));
    assert!(credit.accept(1));
    assert!(!credit.accept(1));
    assert!(!credit.forwarded(BUF_ALLOC / 2 - 1));
    // There is room, but the guest cannot know.
    assert!(!credit.accept(1));
    assert!(credit.forwarded(1));
    credit.tell();
    assert!(credit.accept(BUF_ALLOC / 2));
    assert!(!credit.accept(1));
}

#[test]
fn no_more_is_read_than_the_guest_has_room_for() {
    let directory = Directory::new();
    let (_vsock, mut guest) = directory.guest();
    guest.buf_alloc = 10_000;
    let listener = directory.listen(80);
    let key = guest.connect(1, 80);
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(&pattern(0, 25_000)).unwrap();
    let mut data = Vec::new();
    for _ in 0..2 {
        // `Guest::note` fails where more comes; and the device asks once.
        let had = guest.peer(key).credit_requests;
        let peer = guest.until(key, |peer| {
            peer.data.len() == 10_000 && peer.credit_requests > had
        });
        assert_eq!(peer.credit_requests, had + 1);
        guest.sync();
        assert_eq!(guest.peer(key).data.len(), 10_000);
        data.extend(guest.take(key));
    }
    guest.until(key, |peer| peer.data.len() == 5000);
    data.extend(guest.take(key));
    assert!(data == pattern(0, 25_000));
}

#[test]
fn a_guest_that_sends_more_than_its_credit_is_reset() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.guest();
    let listener = directory.listen(80);
    let key = guest.connect(1, 80);
    let (mut stream, _) = listener.accept().unwrap();
    guest.is_closed = true;
    let mut sent = 0;
    // What the guest was told was in the buffers it had; it looks at no new ones.
    while guest.peer(key).credit() > 0 {
        let length = guest.peer(key).credit().min(10_000) as usize;
        guest.send_data(key, &pattern(sent, length));
        sent += length;
        while guest.look().is_some() {}
    }
    assert_eq!(vsock.stats().overruns, 0);
    guest.send_data(key, b"x");
    assert_eq!(vsock.stats().overruns, 1);
    guest.is_closed = false;
    guest.until(key, |peer| peer.is_reset);
    // What fitted into the socket is there; the rest is lost with the connection.
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert!(bytes == pattern(0, bytes.len()));
    assert!(bytes.len() <= sent);
}

#[test]
fn credit_is_told_when_asked_for_and_when_the_host_has_taken_half() {
    let directory = Directory::new();
    let (_vsock, mut guest) = directory.guest();
    let listener = directory.listen(80);
    let key = guest.connect(1, 80);
    let (mut stream, _) = listener.accept().unwrap();
    guest.send_data(key, &[1; 1000]);
    guest.send(key, op::CREDIT_REQUEST);
    let peer = guest.until(key, |peer| peer.credit_updates == 1);
    assert_eq!(peer.host_fwd, 1000);
    let reader = thread::spawn(move || {
        let mut bytes = vec![0; 1000 + 200_000];
        stream.read_exact(&mut bytes).unwrap();
        stream
    });
    for _ in 0..200 {
        guest.send_data(key, &[2; 1000]);
    }
    let peer = guest.until(key, |peer| peer.credit_updates == 2);
    assert!(peer.host_fwd >= 1000 + BUF_ALLOC / 2);
    reader.join().unwrap();
}
