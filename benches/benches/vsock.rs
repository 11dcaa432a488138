//! A connection by the socket device, from a host program through the device's thread and the driver's
//! ring and back, beside a pair of UNIX sockets between two threads, by turns. Each side writes and reads
//! 64 KiB at a time.
//!
//! `cargo bench --bench vsock`. MiB per second.
#![expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use vmmkit_benches::driver::{BUFFERS, Driver, Failure, Part};
use vmmkit_benches::side_by_side::{Amount, Turns, compare};
use vmmkit_guest_memory::GuestAddress;
use vmmkit_virtio_devices::{Vsock, VsockConfig, VsockHeader};

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const CID: u64 = 3;
const HOST_CID: u64 = 2;
/// The guest's port, and the host's.
const GUEST_PORT: u32 = 1000;
const HOST_PORT: u32 = 52;
const WRITE: usize = 64 << 10;
/// The guest's buffer for data: as Linux has it.
const BUF_ALLOC: u32 = 256 << 10;
/// Buffers to receive into, and to send from.
const RECEIVING: u16 = 128;
const SENDING: u16 = 16;
/// How far buffers are apart; the header of each lies before it.
const SHARE: u64 = 128 << 10;
const HEADER_PLACE: u64 = 4096 - VsockHeader::SIZE as u64;

/// Packets (5.10.6).
const REQUEST: u16 = 1;
const RESPONSE: u16 = 2;
const DATA: u16 = 5;
const CREDIT_UPDATE: u16 = 6;
const CREDIT_REQUEST: u16 = 7;

/// The guest's end of a connection.
struct Guest {
    driver: Driver,
    free: Vec<u16>,
    /// Bytes sent and received, those of the latter that the host knows of, and the credit it announces.
    sent: u32,
    received: u32,
    told: u32,
    is_asked: bool,
    host: VsockHeader,
}

/// Where the header of transmit buffer `slot` is; its data follow on the next page.
fn sending(slot: u16) -> u64 {
    BUFFERS + SHARE * u64::from(RECEIVING + slot) + HEADER_PLACE
}

fn receiving(slot: u16) -> u64 {
    BUFFERS + SHARE * u64::from(slot) + HEADER_PLACE
}

impl Guest {
    /// Connects to the host's program, with buffers of `room` bytes to receive into.
    fn connect(socket: PathBuf, room: u32) -> Result<(Self, UnixStream), Failure> {
        let mut path = socket.clone().into_os_string();
        path.push(format!("_{HOST_PORT}"));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        let vsock = Vsock::new(VsockConfig { cid: CID, socket })?;
        let mut driver = Driver::start(Arc::new(vsock), 0, 64)?;
        let queue = driver.queue(RECEIVE)?;
        for slot in 0..RECEIVING {
            let part = Part {
                address: receiving(slot),
                length: VsockHeader::SIZE as u32 + room,
                writable: true,
            };
            queue.describe(slot, &[part]);
            queue.offer(slot);
        }
        queue.publish();
        let mut guest = Self {
            driver,
            free: (0..SENDING).collect(),
            sent: 0,
            received: 0,
            told: 0,
            is_asked: false,
            host: VsockHeader::default(),
        };
        guest.send(REQUEST, 0)?;
        while guest.host.op != RESPONSE {
            guest.driver.wait(&[RECEIVE])?;
            guest.take()?;
        }
        let program = listener.accept()?.0;
        std::fs::remove_file(&path)?;
        Ok((guest, program))
    }

    /// Sends a packet, for which there must be room.
    fn send(&mut self, op: u16, length: u32) -> Result<(), Failure> {
        let slot = self.free.pop().ok_or("no buffer to send from")?;
        let header = VsockHeader {
            src_cid: CID,
            dst_cid: HOST_CID,
            src_port: GUEST_PORT,
            dst_port: HOST_PORT,
            len: length,
            kind: 1,
            op,
            flags: 0,
            buf_alloc: BUF_ALLOC,
            fwd_cnt: self.received,
        };
        self.told = self.received;
        let address = sending(slot);
        let ram = &self.driver.ram;
        ram.write_bytes(GuestAddress(address), &header.to_bytes())?;
        let part = Part {
            address,
            length: VsockHeader::SIZE as u32 + length,
            writable: false,
        };
        let queue = self.driver.queue(TRANSMIT)?;
        queue.describe(slot, &[part]);
        queue.offer(slot);
        queue.publish();
        self.sent = self.sent.wrapping_add(length);
        Ok(())
    }

    /// Takes what has come and what was sent; how many bytes of data came.
    fn take(&mut self) -> Result<u64, Failure> {
        while let Some((slot, _)) = self.driver.queue(TRANSMIT)?.take() {
            self.free.push(slot);
        }
        let mut data = 0;
        while let Some((slot, _)) = self.driver.queue(RECEIVE)?.take() {
            let mut header = [0; VsockHeader::SIZE];
            let ram = &self.driver.ram;
            ram.read_bytes(GuestAddress(receiving(slot)), &mut header)?;
            self.host = VsockHeader::parse(&header).ok_or("no header")?;
            match self.host.op {
                DATA => {
                    data += u64::from(self.host.len);
                    self.received = self.received.wrapping_add(self.host.len);
                }
                RESPONSE | CREDIT_UPDATE => {}
                CREDIT_REQUEST => self.is_asked = true,
                other => return Err(format!("a packet with op {other}").into()),
            }
            self.driver.queue(RECEIVE)?.offer(slot);
        }
        self.driver.queue(RECEIVE)?.publish();
        Ok(data)
    }

    /// Receives for so long; the program sends as fast as it can.
    fn receive(&mut self, length: Duration) -> Result<Amount, Failure> {
        Amount::of(length, || {
            self.driver.wait(&[RECEIVE])?;
            let data = self.take()?;
            let is_due = self.is_asked || self.received.wrapping_sub(self.told) >= BUF_ALLOC / 2;
            if is_due && !self.free.is_empty() {
                self.is_asked = false;
                self.send(CREDIT_UPDATE, 0)?;
            }
            Ok(data)
        })
    }

    /// Sends for so long; the program takes it.
    fn transmit(&mut self, length: Duration) -> Result<Amount, Failure> {
        Amount::of(length, || {
            let mut data = 0;
            loop {
                let under_way = self.sent.wrapping_sub(self.host.fwd_cnt);
                let room = self.host.buf_alloc.saturating_sub(under_way);
                if (room as usize) < WRITE || self.free.is_empty() {
                    break;
                }
                self.send(DATA, WRITE as u32)?;
                data += WRITE as u64;
            }
            if self.free.is_empty() {
                self.driver.wait(&[TRANSMIT])?;
            } else {
                self.driver.wait(&[RECEIVE])?;
            }
            self.take()?;
            Ok(data)
        })
    }
}

/// A thread that reads or writes a socket while it may.
struct Program {
    goes: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Program {
    fn start(
        mut socket: UnixStream,
        mut step: impl FnMut(&mut UnixStream) -> bool + Send + 'static,
    ) -> Self {
        let goes = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let goes = goes.clone();
            move || loop {
                while !goes.load(Ordering::Relaxed) {
                    thread::park();
                }
                if !step(&mut socket) {
                    return;
                }
            }
        });
        Self { goes, thread }
    }

    /// Runs `measure` while the thread works.
    fn while_it_works<T>(&self, measure: impl FnOnce() -> T) -> T {
        self.goes.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        let measured = measure();
        self.goes.store(false, Ordering::Relaxed);
        measured
    }
}

fn writing(socket: UnixStream) -> Program {
    let bytes = vec![0x5a; WRITE];
    Program::start(socket, move |socket| socket.write_all(&bytes).is_ok())
}

fn reading(socket: UnixStream) -> Program {
    let mut bytes = vec![0; WRITE];
    Program::start(socket, move |socket| {
        !matches!(socket.read(&mut bytes), Ok(0) | Err(_))
    })
}

/// Reads or writes here while the other end is a program.
fn plain(socket: &mut UnixStream, length: Duration, writes: bool) -> Result<Amount, Failure> {
    // As many buffers as the driver has: no cache has more of them.
    let count = if writes { SENDING } else { RECEIVING };
    let mut buffers = vec![vec![0x5a; WRITE]; count.into()];
    let mut turn = 0;
    Amount::of(length, || {
        turn = (turn + 1) % buffers.len();
        let Some(bytes) = buffers.get_mut(turn) else {
            return Ok(0);
        };
        if writes {
            socket.write_all(bytes)?;
            return Ok(WRITE as u64);
        }
        match socket.read(bytes) {
            Ok(count) => Ok(count as u64),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error.into()),
        }
    })
}

fn show(line: &str, outcome: vmmkit_benches::side_by_side::Outcome) {
    let mebibytes = |rate: f64| rate / f64::from(1 << 20);
    println!(
        "{line:40} {outcome}  MiB/s {:.0}, {:.0}",
        mebibytes(outcome.ours),
        mebibytes(outcome.other)
    );
}

fn main() -> Result<(), Failure> {
    let socket = std::env::temp_dir().join(format!("vmmkit-bench-{}", std::process::id()));
    for room in [WRITE as u32, 4096 - VsockHeader::SIZE as u32] {
        let (mut guest, program) = Guest::connect(socket.clone(), room)?;
        let (mut near, far) = UnixStream::pair()?;
        let (program, other) = (writing(program), writing(far));
        let outcome = compare(
            Turns::default(),
            |length| program.while_it_works(|| guest.receive(length)),
            |length| other.while_it_works(|| plain(&mut near, length, false)),
        )?;
        show(
            &format!("host to guest, buffers of {} B", room + 44),
            outcome,
        );
    }
    let (mut guest, program) = Guest::connect(socket, WRITE as u32)?;
    let (mut near, far) = UnixStream::pair()?;
    let (program, other) = (reading(program), reading(far));
    let outcome = compare(
        Turns::default(),
        |length| program.while_it_works(|| guest.transmit(length)),
        |length| other.while_it_works(|| plain(&mut near, length, true)),
    )?;
    show("guest to host", outcome);
    Ok(())
}
