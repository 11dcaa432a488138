//! Ten thousand requests of clients that mean no good, to a guest that runs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use support::has_kvm;
use support::running::{LIMIT, Place, wait_for, waiting_guest};
use vmmkit_control::{Client, MachineInfo};

/// Requests of all threads together.
const REQUESTS: u32 = 10_000;
const THREADS: u32 = 4;
/// Kilobytes by which the memory of the process may grow.
const GROWTH: u64 = 1024;

/// Numbers that look random: xorshift (Marsaglia, 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next()).unwrap() % limit
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}

/// Bodies that are of no use.
const BODIES: &[&str] = &[
    "{}",
    "[]",
    "null",
    "{\"target_bytes\": \"4096\"}",
    "{\"target_bytes\": -1048576}",
    "{\"target_bytes\": 1e400}",
    "{\"target_bytes\": {\"target_bytes\": {}}}",
    "{\"target_bytes\": 18446744073709551615}",
    "{\"requests\": {\"bandwidth\": {\"size\": 0}}}",
    "{\"timeout_seconds\": 99999999999}",
    "{\"timeout_seconds\": null, \"x\": 1}",
    "{\"\\ud800\": 1}",
    "\u{feff}{}",
];

/// Paths that are worth trying: none of them stops the guest.
const PATHS: &[&str] = &[
    "/v1/balloon",
    "/v1/console/log",
    "/v1/console/size",
    "/v1/devices",
    "/v1/devices/rng0/limits",
    "/v1/devices/%00",
    "/v1/machine",
    "/v1/machine/pause",
    "/v1/machine/resume",
    "/v1/../../etc/passwd",
    "/v1/events?",
    "*",
    "http://[::1/",
    "//",
];

const METHODS: &[&str] = &["GET", "PUT", "POST", "DELETE", "CONNECT", "\u{1}", "get"];

/// One request; whether its sender then waits for an answer.
fn request(random: &mut Random) -> (Vec<u8>, bool) {
    let method = METHODS[random.below(METHODS.len())];
    let path = PATHS[random.below(PATHS.len())];
    let body = BODIES[random.below(BODIES.len())];
    let head = |length: usize| {
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")
    };
    let whole = format!("{}{body}", head(body.len()));
    match random.below(10) {
        // Of the wrong types.
        0..=3 => (whole.into_bytes(), true),
        // Truncated: in the head, or with less than it promised.
        4 => {
            let end = random.below(whole.len());
            (whole.into_bytes()[..end].to_vec(), false)
        }
        5 => (
            format!("{}{body}", head(body.len() + 1000)).into_bytes(),
            false,
        ),
        // No HTTP at all.
        6 => {
            let length = 1 + random.below(2000);
            (random.bytes(length), true)
        }
        // Oversized: the body, a header, the number of headers.
        7 => {
            let body = "[".repeat(70_000 + random.below(10_000));
            (format!("{}{body}", head(body.len())).into_bytes(), true)
        }
        8 => {
            let long = "x".repeat(random.below(100_000));
            (
                format!("{method} {path} HTTP/1.1\r\nx: {long}\r\n\r\n").into_bytes(),
                true,
            )
        }
        // Chunks that are none, and lengths that contradict each other.
        _ => {
            let chunks = ["ffffffffffffffff\r\n", "-1\r\n", "5\r\nab", "0\r\nx: y\r\n"];
            let chunk = chunks[random.below(chunks.len())];
            let head = format!("{method} {path} HTTP/1.1\r\ntransfer-encoding: chunked\r\n");
            (
                format!("{head}content-length: 3\r\n\r\n{chunk}").into_bytes(),
                true,
            )
        }
    }
}

fn send(socket: &Path, random: &mut Random) {
    // A full backlog, or a server that has enough connections, is not a failure.
    let Ok(mut stream) = UnixStream::connect(socket) else {
        return;
    };
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    let (bytes, waits) = request(random);
    // The server may close before it has read all of it.
    let _ = stream.write_all(&bytes);
    if waits {
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

#[test]
fn hostile_clients_cost_nothing_that_stays() {
    if !has_kvm("hostile_clients_cost_nothing_that_stays") {
        return;
    }
    let place = Place::new("hostile", &waiting_guest());
    let mut guest = place.guest("web", &["--rng", "--balloon"]);
    let socket = place.socket("web");
    let storm = |seed: u64, requests: u32| {
        let mut random = Random(seed);
        for _ in 0..requests {
            send(&socket, &mut random);
        }
    };
    // What is allocated once is there after a few of them, and after the first stream of events.
    storm(1, 500);
    Client::new(&socket)
        .events()
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let before = settled(&guest);

    // Slow ones that never finish, all the while.
    let slow: Vec<UnixStream> = (0..8)
        .map(|_| {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream
                .write_all(b"PUT /v1/balloon HTTP/1.1\r\ncontent-length: 9\r\n\r\n{")
                .unwrap();
            stream
        })
        .collect();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || storm(u64::from(thread) + 2, REQUESTS / THREADS));
        }
    });
    drop(slow);

    assert_eq!(guest.child.try_wait().unwrap(), None, "it lives");
    let client = Client::new(&socket);
    let _: MachineInfo = client.post("/v1/machine/resume", None).unwrap();
    let mut after = settled(&guest);
    wait_for(
        &format!("there are no more than before: {before:?}"),
        || {
            after = settled(&guest);
            after.descriptors <= before.descriptors
        },
    );
    assert!(after.threads <= before.threads + 2, "{before:?}, {after:?}");
    assert!(
        after.anonymous <= before.anonymous + GROWTH,
        "{before:?}, {after:?}"
    );
    place.says(&["stop", "-n", "web", "--timeout", "0"]);
    let mut error = String::new();
    guest
        .child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut error)
        .unwrap();
    assert_eq!((guest.ends().code(), error.as_str()), (Some(0), ""));
}

/// The usage when it does not change any more.
fn settled(guest: &support::running::Guest) -> support::running::Usage {
    let mut last = guest.usage();
    wait_for("its usage settles", || {
        thread::sleep(Duration::from_millis(20));
        let now = guest.usage();
        let is_same = now == last;
        last = now;
        is_same
    });
    last
}
