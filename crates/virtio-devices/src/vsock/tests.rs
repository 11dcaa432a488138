mod bulk;
mod close;
mod connect;
mod credit;
mod goodbye;
mod greeting;
mod guest;
mod life;
mod model;
mod packets;
mod room;
mod socket;
mod table;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::engine::Times;
use super::{Vsock, VsockConfig, VsockHeader};
use guest::Guest;

const CID: u64 = 3;
const LONG: Duration = Duration::from_secs(600);

/// A directory that is removed with what is in it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vmmkit-vsock-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("v.sock")
    }

    fn vsock(&self) -> Vsock {
        let config = VsockConfig {
            cid: CID,
            socket: self.socket(),
        };
        let mut vsock = Vsock::new(config).unwrap();
        // However slow the machine is, nobody is late.
        vsock.times = Times {
            greeting: LONG,
            request: LONG,
            close: LONG,
            drain: LONG,
        };
        vsock
    }

    /// A device that gives nobody much time, and its driver.
    fn hasty_guest(&self) -> (Arc<Vsock>, Guest) {
        let mut vsock = self.vsock();
        let short = Duration::from_millis(50);
        vsock.times = Times {
            greeting: short,
            request: short,
            close: short,
            drain: short,
        };
        let vsock = Arc::new(vsock);
        (vsock.clone(), Guest::start(vsock))
    }

    /// A device and its driver.
    fn guest(&self) -> (Arc<Vsock>, Guest) {
        let vsock = Arc::new(self.vsock());
        (vsock.clone(), Guest::start(vsock))
    }

    /// A host program that listens for the guest's connections to `port`.
    fn listen(&self, port: u32) -> UnixListener {
        UnixListener::bind(self.0.join(format!("v.sock_{port}"))).unwrap()
    }

    /// A host program that asks for the guest's port.
    fn connect(&self, port: u32) -> UnixStream {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        // A test that fails should not hang.
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        writeln!(stream, "CONNECT {port}").unwrap();
        stream
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Reads the answer `OK <port>`.
fn read_ok(stream: &UnixStream) -> u32 {
    let mut line = String::new();
    // No more than the line is there.
    BufReader::with_capacity(1, stream)
        .read_line(&mut line)
        .unwrap();
    line.strip_prefix("OK ")
        .unwrap()
        .trim_end()
        .parse()
        .unwrap()
}

/// Bytes that differ from place to place.
fn pattern(from: usize, length: usize) -> Vec<u8> {
    (from..from + length)
        .map(|place| (place.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}
