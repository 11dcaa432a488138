//! The serial console's host side: bytes out through a buffer, bytes in through the event loop.
//!
//! Output: vCPU threads push into the [`OutputBuffer`]; its timer or its fill level wakes the event
//! loop, which writes. Input: the loop reads no more than the serial port has room for, stops
//! watching the descriptor while there is none, and starts again when the port says there is room:
//! no byte is lost and nothing spins.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmmkit_host_io::{EventFd, OutputBuffer};
use vmmkit_legacy_devices::{SerialOutput, SerialPort};

/// What one read of a console's input gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleRead {
    /// This many bytes, at the start of the buffer; may be 0 when what was read was not for the
    /// guest.
    Bytes(usize),
    /// Nothing now; the descriptor will become readable.
    NotReady,
    /// Nothing ever again.
    End,
}

/// Where a console's input comes from. It is read on the event loop's thread, only when the guest
/// has room for what is asked for.
pub trait ConsoleInput: AsFd + Send {
    /// Reads up to `bytes.len()` bytes without blocking.
    ///
    /// # Errors
    /// Any error ends the input.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<ConsoleRead>;
}

/// The two ends of the serial console.
#[derive(Default)]
pub struct Console {
    /// Where the guest's input comes from; `None` for no input.
    pub input: Option<Box<dyn ConsoleInput>>,
    /// Where its output goes; `None` drops it.
    pub output: Option<Arc<OutputBuffer>>,
    /// Called once, on the event loop's thread, when the guest's first output is about to be
    /// written.
    pub on_first_output: Option<Box<dyn FnOnce() + Send>>,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("input", &self.input.is_some())
            .field("output", &self.output.is_some())
            .finish()
    }
}

/// The serial port's transmitter: pushes into the buffer.
pub(crate) struct Transmitter(pub(crate) Option<Arc<OutputBuffer>>);

impl SerialOutput for Transmitter {
    #[inline]
    fn push(&mut self, byte: u8) -> bool {
        self.0.as_ref().is_none_or(|buffer| buffer.push(byte))
    }
}

/// Writes the buffer out when its time comes.
pub(crate) struct OutputFlusher {
    pub(crate) buffer: Arc<OutputBuffer>,
    pub(crate) port: Arc<SerialPort>,
    pub(crate) on_first_output: Option<Box<dyn FnOnce() + Send>>,
}

impl MutEventSubscriber for OutputFlusher {
    fn process(&mut self, _events: Events, _ops: &mut EventOps<'_>) {
        // Before the output, which may go to the same terminal as what the owner says of it.
        if let Some(first) = self.on_first_output.take() {
            first();
        }
        // A reader that has gone away is the buffer's to remember: the guest goes on without.
        let _ = self.buffer.flush();
        self.port.output_ready();
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        for fd in self.buffer.wake_fds() {
            // Refused only by a host out of memory: output then waits for the final drain.
            let _ = ops.add(Events::new_raw(fd.as_raw_fd(), EventSet::IN));
        }
    }
}

/// Reads the console's input into the serial port.
pub(crate) struct InputReader {
    input: Option<Box<dyn ConsoleInput>>,
    port: Arc<SerialPort>,
    room: Arc<EventFd>,
    watch: Watch,
    /// Read, but refused by the port: the guest may turn its receiver off, or its FIFO, between
    /// the port's word and the bytes.
    refused: Vec<u8>,
}

/// Whether epoll tells of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    /// It does.
    Watched,
    /// Not while the port has no room.
    Paused,
    /// It cannot (regular files, /dev/null): they are always ready, and read when there is room.
    AlwaysReady,
}

impl InputReader {
    /// A reader of `input` for `port`, which tells of its room by an event from now on.
    pub(crate) fn new(input: Box<dyn ConsoleInput>, port: Arc<SerialPort>) -> io::Result<Self> {
        let room = Arc::new(EventFd::new()?);
        let tell = room.clone();
        port.on_room(Box::new(move || tell.notify()));
        Ok(Self {
            input: Some(input),
            port,
            room,
            watch: Watch::Paused,
            refused: Vec::new(),
        })
    }

    /// Reads while there is room and input.
    ///
    /// Bytes the port refuses come before all others, and are offered again when it tells of room.
    fn fill(&mut self, ops: &mut EventOps<'_>) {
        let mut bytes = [0; 64];
        loop {
            let room = if self.offer_refused() {
                self.port.room().min(bytes.len())
            } else {
                0
            };
            let Some(input) = self.input.as_mut() else {
                return;
            };
            let Some(space) = bytes.get_mut(..room).filter(|space| !space.is_empty()) else {
                self.pause(ops);
                return;
            };
            match input.read(space) {
                Ok(ConsoleRead::Bytes(length)) => {
                    let news = space.get(..length).unwrap_or_default();
                    let taken = self.port.receive(news);
                    self.refused.extend(news.iter().skip(taken));
                    if self.watch != Watch::AlwaysReady {
                        self.resume(ops);
                        return;
                    }
                }
                Ok(ConsoleRead::NotReady) => {
                    self.resume(ops);
                    return;
                }
                Ok(ConsoleRead::End) | Err(_) => {
                    self.pause(ops);
                    self.input = None;
                    return;
                }
            }
        }
    }

    /// Offers the port what it refused; whether it has taken all.
    fn offer_refused(&mut self) -> bool {
        if !self.refused.is_empty() {
            let taken = self.port.receive(&self.refused);
            self.refused.drain(..taken);
        }
        self.refused.is_empty()
    }

    fn pause(&mut self, ops: &mut EventOps<'_>) {
        if let (Watch::Watched, Some(input)) = (self.watch, &self.input) {
            let _ = ops.remove(Events::new_raw(
                input.as_fd().as_raw_fd(),
                EventSet::empty(),
            ));
            self.watch = Watch::Paused;
        }
    }

    fn resume(&mut self, ops: &mut EventOps<'_>) {
        if let (Watch::Paused, Some(input)) = (self.watch, &self.input) {
            let fd = input.as_fd().as_raw_fd();
            self.watch = match ops.add(Events::new_raw(fd, EventSet::IN)) {
                Ok(()) => Watch::Watched,
                // EPERM: epoll does not take regular files (epoll_ctl(2)).
                Err(_) => Watch::AlwaysReady,
            };
            if self.watch == Watch::AlwaysReady {
                self.room.notify();
            }
        }
    }
}

impl MutEventSubscriber for InputReader {
    fn process(&mut self, events: Events, ops: &mut EventOps<'_>) {
        if events.fd() == self.room.as_fd().as_raw_fd() {
            self.room.drain();
        }
        self.fill(ops);
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        let _ = ops.add(Events::new_raw(self.room.as_fd().as_raw_fd(), EventSet::IN));
        self.fill(ops);
    }
}
