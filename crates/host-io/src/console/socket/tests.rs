//! Clients of a console, with the test as the guest.

use std::io::Write;
use std::net::Shutdown;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const LIMIT: Duration = Duration::from_secs(60);

/// A console at a socket, its event loop, and the guest's end.
struct Bench {
    socket: ConsoleSocket,
    guest: UnixStream,
    path: PathBuf,
}

impl Bench {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vmmkit-console-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let (socket, guest) = ConsoleSocket::listen(&path).unwrap();
        let guest = UnixStream::from(guest);
        guest.set_nonblocking(true).unwrap();
        Self {
            socket,
            guest,
            path,
        }
    }

    fn client(&self) -> UnixStream {
        let client = UnixStream::connect(&self.path).unwrap();
        client.set_nonblocking(true).unwrap();
        client
    }

    /// Runs the loop until `stream` has given `count` bytes.
    fn reads(&self, mut stream: &UnixStream, count: usize) -> Vec<u8> {
        let deadline = Instant::now() + LIMIT;
        let mut all = Vec::new();
        let mut bytes = [0; 8192];
        while all.len() < count {
            assert!(Instant::now() < deadline, "{} of {count} bytes", all.len());
            self.socket.lock().pass();
            match stream.read(&mut bytes) {
                Ok(length) => all.extend_from_slice(&bytes[..length]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        all
    }

    /// Writes all as the guest, who does not wait for ever.
    fn prints(&self, mut bytes: &[u8]) {
        let deadline = Instant::now() + LIMIT;
        while !bytes.is_empty() {
            assert!(Instant::now() < deadline, "output is taken");
            self.socket.lock().pass();
            if let Ok(length) = (&self.guest).write(bytes) {
                bytes = &bytes[length..];
            }
        }
        // More than a socket holds.
        (0..16).for_each(|_| self.socket.lock().pass());
    }

    /// Runs the relay as the event loop does: while there is something to wait for.
    fn works(&self) {
        let mut ready = Vec::new();
        for _ in 0..1000 {
            let mut relay = self.socket.lock();
            ready.clear();
            relay.poller.look(&mut ready).unwrap();
            if ready.is_empty() {
                return;
            }
            relay.pass();
        }
        panic!("it works for ever");
    }

    fn has_client(&self) -> bool {
        self.socket.lock().pass();
        self.socket.lock().client.is_some()
    }
}

#[test]
fn bytes_go_both_ways() {
    let bench = Bench::new();
    let mut client = bench.client();
    client.write_all(b"typed").unwrap();
    assert_eq!(bench.reads(&bench.guest, 5), b"typed");
    bench.prints(b"printed");
    assert_eq!(bench.reads(&client, 7), b"printed");
}

#[test]
fn a_late_client_sees_the_last_output_and_one_who_comes_again_too() {
    let bench = Bench::new();
    let text: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    bench.prints(&text);
    let last = &text[text.len() - REPLAY..];
    let client = bench.client();
    assert!(bench.reads(&client, REPLAY) == last);
    drop(client);
    let again = bench.client();
    assert!(bench.reads(&again, REPLAY) == last);
    bench.prints(b"more");
    assert_eq!(bench.reads(&again, 4), b"more");
}

#[test]
fn a_second_client_is_told_and_waits_for_the_first_to_leave() {
    let bench = Bench::new();
    let first = bench.client();
    assert!(bench.has_client());
    let second = bench.client();
    bench.prints(b"one");
    assert_eq!(bench.reads(&first, 3), b"one");
    // He is told, and gets nothing else.
    assert_eq!(bench.reads(&second, WAIT.len()), WAIT);
    assert!((&second).read(&mut [0; 8]).is_err());
    drop(first);
    assert_eq!(bench.reads(&second, 3), b"one");
}

#[test]
fn clients_that_left_while_they_waited_keep_nobody_waiting() {
    let bench = Bench::new();
    let first = bench.client();
    bench.works();
    let left: Vec<UnixStream> = (0..3).map(|_| bench.client()).collect();
    let last = bench.client();
    bench.works();
    drop(left);
    bench.works();
    drop(first);
    bench.works();
    (&last).write_all(b"typed").unwrap();
    bench.works();
    let mut seen = [0; 16];
    let length = (&bench.guest).read(&mut seen).unwrap();
    assert_eq!(&seen[..length], b"typed");
}

#[test]
fn who_only_listens_is_served_until_he_leaves() {
    let bench = Bench::new();
    let mut client = bench.client();
    client.write_all(b"ls\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(bench.reads(&bench.guest, 3), b"ls\n");
    bench.prints(b"answer");
    assert_eq!(bench.reads(&client, 6), b"answer");
    assert!(bench.has_client());
    drop(client);
    assert!(!bench.has_client());
}

#[test]
fn a_client_who_reads_nothing_holds_the_output_up_and_loses_none() {
    let bench = Bench::new();
    let client = bench.client();
    assert!(bench.has_client());
    let mut sent = Vec::new();
    let mut number = 0_u8;
    while let Ok(1) = (&bench.guest).write(&[number]) {
        sent.push(number);
        number = number.wrapping_add(1);
        bench.socket.lock().pass();
    }
    assert!(bench.reads(&client, sent.len()) == sent);
}

#[test]
fn a_guest_that_reads_nothing_holds_the_client_up_and_loses_none() {
    let bench = Bench::new();
    let client = bench.client();
    let mut sent = Vec::new();
    let mut number = 0_u8;
    while let Ok(1) = (&client).write(&[number]) {
        sent.push(number);
        number = number.wrapping_add(1);
        bench.socket.lock().pass();
    }
    assert!(bench.reads(&bench.guest, sent.len()) == sent);
}

#[test]
fn the_last_output_reaches_the_client_and_the_file_goes() {
    let bench = Bench::new();
    let mut client = bench.client();
    assert!(bench.has_client());
    (&bench.guest).write_all(b"Power down.\n").unwrap();
    bench.socket.finish(LIMIT);
    let mut text = [0; 12];
    client.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"Power down.\n");
    assert!(!bench.path.exists());
}

#[test]
fn nothing_is_waited_for_where_there_is_nobody() {
    let bench = Bench::new();
    (&bench.guest).write_all(b"text").unwrap();
    bench.socket.finish(Duration::from_secs(3600));
}

#[test]
fn a_client_who_left_more_than_the_guest_reads_is_no_endless_work() {
    let bench = Bench::new();
    let client = bench.client();
    let mut typed = 0;
    // Until neither the relay nor the sockets hold more.
    for _ in 0..4 {
        while let Ok(length) = (&client).write(&[b'x'; CHUNK]) {
            typed += length;
        }
        bench.works();
    }
    drop(client);
    bench.works();
    assert_eq!(bench.reads(&bench.guest, typed).len(), typed);
    bench.works();
    let next = bench.client();
    bench.prints(b"R");
    assert_eq!(bench.reads(&next, 1), b"R");
}
