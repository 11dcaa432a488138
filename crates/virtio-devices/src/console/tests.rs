mod input;
mod output;
mod ports;
mod sockets;

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::ioctl_fionread;
use vmmkit_host_io::{FdInput, InputRead, InputSource, LostOutput};
use vmmkit_virtio::fake::hostile::torture;
use vmmkit_virtio::fake::{Driver, Options};

use super::*;

const INPUT: u16 = 0;
const OUTPUT: u16 = 1;

fn console(ports: Vec<Port>) -> Arc<Console> {
    Arc::new(Console::new(ports).unwrap())
}

fn input(reader: impl Into<OwnedFd>) -> Option<Box<dyn InputSource>> {
    Some(Box::new(FdInput::new(reader.into())))
}

/// A port that writes to a pipe.
fn to_pipe() -> (Port, PipeReader, PipeWriter) {
    let (reader, writer) = pipe().unwrap();
    let output = writer.try_clone().unwrap();
    (Port::streams(None, Some(output.into())), reader, writer)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

fn read(reader: &mut impl Read, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).unwrap();
    bytes
}

fn send(driver: &mut Driver, queue: u16, bytes: &[u8]) {
    driver.add(queue, &[bytes], &[]).unwrap();
    driver.kick(queue);
}

/// A path of this test alone.
fn scratch() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("vmmkit-console-{}-{count}", std::process::id());
    std::env::temp_dir().join(name)
}

/// Waits until the pipe takes no more.
fn wait_full(reader: &PipeReader) {
    while ioctl_fionread(reader).unwrap() < 64 << 10 {
        std::thread::yield_now();
    }
}

fn message(port: u32, event: u16, value: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    message::encode(&mut bytes, port, event, value);
    bytes
}

/// A driver with buffers for control messages, which knows all ports.
fn multiport(console: &Arc<Console>, ports: u32) -> Driver {
    let mut driver = Driver::start(console.clone()).unwrap();
    for _ in 0..20 {
        driver.add(2, &[], &[64]).unwrap();
    }
    driver.kick(2);
    send(&mut driver, 3, &message(0, 0, 1));
    for port in 0..ports {
        assert_eq!(driver.wait(2).unwrap().1, message(port, 1, 1));
    }
    driver
}
