//! Sockets between a booted Linux and the host: whoever connects, what goes in comes out.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use vmmkit_tests::process::Finished;
use vmmkit_tests::scripted::Scripted;
use vmmkit_tests::stream::{drain, send};

/// Where the guest echoes, and where the test does.
const GUESTS_PORT: u32 = 52;
const TESTS_PORT: u32 = 1024;
/// Bytes each way.
const SIZE: usize = 64 << 20;
/// By this port the guest says that it echoes, and waits until the connection is closed.
const READY_PORT: u32 = 1025;
/// Starts the guest's echo, and waits until the test is done with it.
const SERVE: &str = "vsock listen 52 >log & until grep -q listening log; do usleep 10000; done
    vsock connect 1025 1; kill $!\n";

/// A guest with a socket device, and what it may connect to.
struct Guest(Scripted);

impl Guest {
    fn find(name: &str) -> Option<Self> {
        Scripted::find(name).unwrap().map(Self)
    }

    fn socket(&self) -> PathBuf {
        self.0.folder().join("v.sock")
    }

    /// Listens where a guest that connects to `port` arrives; each connection is handled by a thread
    /// of its own, for as long as the test runs.
    fn listen(&self, port: u32, handle: impl Fn(UnixStream) + Send + Sync + 'static) {
        let path = self.0.folder().join(format!("v.sock_{port}"));
        let listener = UnixListener::bind(path).unwrap();
        let handle = Arc::new(handle);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let handle = handle.clone();
                thread::spawn(move || handle(stream));
            }
        });
    }

    /// Runs `script` to the end of the guest; then the socket's file is gone.
    fn run(&self, script: &str) -> Finished {
        let mut command = self.0.command(script, "").unwrap();
        command
            .arg("--vsock")
            .arg(format!("cid=3,socket={}", self.socket().display()));
        let run = self.0.run(&mut command).unwrap();
        assert_eq!(run.code(), Some(0), "{run:#?}");
        assert!(!self.socket().exists(), "{run:#?}");
        assert!(!run.stderr.contains("vsock0"), "{run:#?}");
        run
    }

    /// Runs a guest that echoes, and `talk` with it; what `talk` found.
    fn echoes<T: Send + 'static>(&self, talk: impl Fn(&PathBuf) -> T + Send + Sync + 'static) -> T {
        let found = Arc::new(Mutex::new(None));
        let (socket, keeper) = (self.socket(), found.clone());
        self.listen(READY_PORT, move |stream| {
            *keeper.lock().unwrap() = Some(talk(&socket));
            drop(stream);
        });
        let run = self.run(SERVE);
        let found = found.lock().unwrap().take();
        assert!(
            found.is_some(),
            "no guest came, or the talk failed: {run:#?}"
        );
        found.unwrap()
    }
}

/// Connects to the guest's `port`.
fn connect(socket: &PathBuf, port: u32) -> Result<UnixStream, String> {
    let mut stream = UnixStream::connect(socket).map_err(|error| error.to_string())?;
    writeln!(stream, "CONNECT {port}").map_err(|error| error.to_string())?;
    // Byte by byte: what follows the line is the stream.
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => line.extend(byte),
            other => return Err(format!("{other:?} after {line:?}")),
        }
    }
    match line.starts_with(b"OK ") {
        true => Ok(stream),
        false => Err(String::from_utf8_lossy(&line).into_owned()),
    }
}

/// Sends `total` bytes, and reads what comes back to its end: how much of it, and both checksums.
fn exchange(stream: &UnixStream, seed: u64, total: usize) -> (usize, u64, u64) {
    let out = stream.try_clone().unwrap();
    let sender = thread::spawn(move || {
        let sum = send(&out, seed, total).unwrap();
        out.shutdown(Shutdown::Write).unwrap();
        sum
    });
    let (back, received) = drain(stream, |_| {});
    (back, sender.join().unwrap(), received)
}

/// Echoes to the end; how much went through, and its checksum.
fn echo(stream: &UnixStream) -> (usize, u64) {
    let mut back = stream;
    drain(stream, |now| {
        // A guest that is gone sees that by itself.
        let _ = back.write_all(now);
    })
}

/// Both ways, from the host to the guest's echo.
fn host_connects(name: &str, total: usize) {
    let Some(guest) = Guest::find(name) else {
        return;
    };
    let (back, sent, received) = guest.echoes(move |socket| {
        let stream = connect(socket, GUESTS_PORT).unwrap();
        exchange(&stream, 1, total)
    });
    assert_eq!((back, received), (total, sent));
}

/// Both ways, from the guest to the test's echo.
fn guest_connects(name: &str, total: usize) {
    let Some(guest) = Guest::find(name) else {
        return;
    };
    let seen = Arc::new(Mutex::new((0, 0)));
    let keeper = seen.clone();
    guest.listen(TESTS_PORT, move |stream| {
        *keeper.lock().unwrap() = echo(&stream);
    });
    let run = guest.run(&format!("vsock connect {TESTS_PORT} {total}\n"));
    let (length, sum) = *seen.lock().unwrap();
    assert_eq!(length, total);
    let said = format!("{total} bytes sent, {sum:016x}; {total} back, {sum:016x}: equal");
    assert!(run.stdout.contains(&said), "{said} is not in {run:#?}");
}

#[test]
fn a_host_program_connects_to_the_guest_and_gets_back_what_it_sends() {
    host_connects("host connects", SIZE);
}

#[test]
fn the_guest_connects_to_a_host_program_and_gets_back_what_it_sends() {
    guest_connects("guest connects", SIZE);
}

#[test]
fn a_hundred_host_programs_are_connected_at_once() {
    let Some(guest) = Guest::find("100 from the host") else {
        return;
    };
    let equal = guest.echoes(|socket| {
        let streams: Vec<_> = (0..100)
            .map(|_| connect(socket, GUESTS_PORT).unwrap())
            .collect();
        let talks: Vec<_> = streams
            .into_iter()
            .zip(1..)
            .map(|(stream, seed)| thread::spawn(move || exchange(&stream, seed, 10_000)))
            .collect();
        let talks = talks.into_iter().map(|talk| talk.join().unwrap());
        talks
            .filter(|(back, sent, received)| *back == 10_000 && sent == received)
            .count()
    });
    assert_eq!(equal, 100);
}

#[test]
fn a_hundred_programs_of_the_guest_are_connected_at_once() {
    let Some(guest) = Guest::find("100 from the guest") else {
        return;
    };
    // Nobody gets anything back before all are there.
    let barrier = Arc::new(Barrier::new(100));
    guest.listen(TESTS_PORT, move |stream| {
        barrier.wait();
        echo(&stream);
    });
    let run = guest.run(
        "for i in $(seq 100); do vsock connect 1024 10000 & done >log; wait
        echo \"equal: $(grep -c equal log)\"\n",
    );
    assert!(run.stdout.contains("equal: 100"), "{run:#?}");
}

#[test]
fn a_port_on_which_nobody_listens_is_refused_both_ways() {
    let Some(guest) = Guest::find("refused") else {
        return;
    };
    let from_host = guest.echoes(|socket| connect(socket, 53).is_err());
    assert!(from_host);
    let run = guest.run("vsock connect 9 1 2>&1 || echo refused\n");
    assert!(run.stdout.contains("reset by peer"), "{run:#?}");
    assert!(run.stdout.contains("refused"), "{run:#?}");
}

#[test]
fn a_guest_whose_kernel_has_no_driver_is_told_of_after_its_end() {
    let Some(guest) = Guest::find("no driver") else {
        return;
    };
    let mut command = guest
        .0
        .command(
            "ls /sys/bus/virtio/drivers\n",
            "initcall_blacklist=virtio_vsock_init",
        )
        .unwrap();
    command
        .arg("--vsock")
        .arg(format!("cid=3,socket={}", guest.socket().display()));
    let run = guest.0.run(&mut command).unwrap();
    assert_eq!(run.code(), Some(0), "{run:#?}");
    let line = "vsock0 was never initialised: the guest's kernel may lack CONFIG_VIRTIO_VSOCKETS";
    assert_eq!(run.stderr.matches(line).count(), 1, "{run:#?}");
    assert!(!guest.socket().exists());
}
