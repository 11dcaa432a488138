use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

use super::super::spec::{SHUTDOWN_BOTH, SHUTDOWN_SEND};
use super::*;

/// A sum of bytes that knows their order (FNV-1a).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sum(u64);

impl Sum {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

/// The guest sends `total` bytes, as far as it may, until all are gone.
fn send_all(guest: &mut Guest, key: (u32, u32), total: usize) -> Sum {
    let (mut sum, mut sent) = (Sum::new(), 0);
    while sent < total {
        let credit = guest.peer(key).credit() as usize;
        let length = credit.min(total - sent).min(60_000);
        if length == 0 {
            guest.next();
            continue;
        }
        let bytes = pattern(sent, length);
        sum.add(&bytes);
        guest.send_data(key, &bytes);
        sent += length;
        while guest.look().is_some() {}
        pause_now_and_then(guest, sent / length);
    }
    sum
}

/// Packets move on as if nothing had been.
fn pause_now_and_then(guest: &Guest, number: usize) {
    if number.is_multiple_of(16) {
        guest.pause();
        guest.resume();
    }
}

fn each_way(total: usize) {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.guest();
    let mut stream = directory.connect(7);
    let key = guest.accept(7);
    read_ok(&stream);
    let program = thread::spawn(move || {
        let (mut sum, mut bytes) = (Sum::new(), vec![0; 50_000]);
        loop {
            let length = stream.read(&mut bytes).unwrap();
            if length == 0 {
                break;
            }
            sum.add(&bytes[..length]);
        }
        let mut sent = Sum::new();
        for from in (0..total).step_by(30_000) {
            let bytes = pattern(from, (total - from).min(30_000));
            sent.add(&bytes);
            stream.write_all(&bytes).unwrap();
        }
        stream.shutdown(Shutdown::Write).unwrap();
        (sum, sent)
    });
    let sent = send_all(&mut guest, key, total);
    guest.shut(key, SHUTDOWN_SEND);
    let mut came = Sum::new();
    while guest.peer(key).shut & SHUTDOWN_SEND == 0 {
        guest.next();
        if guest.peer(key).data.len() > 100_000 {
            came.add(&guest.take(key));
            pause_now_and_then(&guest, guest.peer(key).rx_cnt as usize / 100_000);
        }
    }
    came.add(&guest.take(key));
    assert_eq!(program.join().unwrap(), (sent, came));
    let stats = vsock.stats();
    assert_eq!(
        (stats.rx_bytes, stats.tx_bytes),
        (total as u64, total as u64)
    );
    guest.shut(key, SHUTDOWN_BOTH);
    guest.until(key, |peer| peer.is_reset);
    assert_eq!(vsock.stats().connections, 0);
}

#[test]
fn mebibytes_go_each_way_unchanged() {
    each_way(8 << 20);
}

#[test]
#[ignore = "as above, longer: 64 MiB each way"]
fn many_mebibytes_go_each_way_unchanged() {
    each_way(64 << 20);
}

#[test]
fn a_hundred_connections_echo_at_once() {
    let directory = Directory::new();
    let (vsock, mut guest) = directory.guest();
    let length = 20_000;
    // Half of them from each side.
    let listener = directory.listen(80);
    let mut programs = Vec::new();
    for number in 0..50 {
        let mut stream = directory.connect(5);
        programs.push(thread::spawn(move || {
            read_ok(&stream);
            let bytes = pattern(number * 1000, length);
            let mut writer = stream.try_clone().unwrap();
            let sent = bytes.clone();
            let writer = thread::spawn(move || writer.write_all(&sent).unwrap());
            let mut echo = vec![0; length];
            stream.read_exact(&mut echo).unwrap();
            writer.join().unwrap();
            assert!(echo == bytes);
        }));
    }
    let mut echoed: Vec<_> = (0..50).map(|_| guest.accept(5)).collect();
    for from in 1000..1050 {
        echoed.push(guest.connect(from, 80));
        let (mut stream, _) = listener.accept().unwrap();
        programs.push(thread::spawn(move || {
            let bytes = pattern(from as usize, length);
            stream.write_all(&bytes).unwrap();
            let mut echo = vec![0; length];
            stream.read_exact(&mut echo).unwrap();
            assert!(echo == bytes);
        }));
    }
    assert_eq!(vsock.stats().connections, 100);
    let mut left = 100 * length;
    while left > 0 {
        guest.next();
        for key in &echoed {
            if !guest.peer(*key).data.is_empty() {
                let data = guest.take(*key);
                left -= data.len();
                guest.send_data(*key, &data);
            }
        }
    }
    for program in programs {
        program.join().unwrap();
    }
}

#[test]
fn a_connection_with_much_to_send_does_not_keep_others_waiting() {
    let directory = Directory::new();
    let (_vsock, mut guest) = directory.guest();
    let listener = directory.listen(80);
    let loud = guest.connect(1, 80);
    let (mut loud_stream, _) = listener.accept().unwrap();
    let quiet = guest.connect(2, 80);
    let (mut quiet_stream, _) = listener.accept().unwrap();
    // The device has no buffers while both write: their data are there when it gets some.
    while guest.look().is_some() {}
    guest.is_closed = true;
    guest.drain();
    loud_stream.set_nonblocking(true).unwrap();
    while loud_stream.write(&[1; 4096]).is_ok() {}
    quiet_stream.write_all(b"me too").unwrap();
    guest.is_closed = false;
    guest.until(quiet, |peer| peer.data.len() == 6);
    let before = guest.peer(loud).data.len();
    // Its turn came before the loud one had used up its credit.
    assert!(before < 256 << 10, "{before}");
}
