//! Work while the command runs: its input, its output, signals for it, and its end. One process waits for all
//! of it, and none waits for another.

use crate::syscall::{self, Errno, Fd, Poll};
use crate::wire;

const IN: u16 = 1;
const OUT: u16 = 4;
/// How long a port without a host is left alone, in milliseconds.
const PAUSE: i32 = 5;
/// Bytes at a time.
const PIECE: usize = 32 << 10;
/// The most bytes of a line on the port for the status.
const LINE: usize = 32;

/// Bytes between two descriptors.
struct Buffer {
    bytes: &'static mut [u8],
    start: usize,
    end: usize,
}

impl Buffer {
    fn new() -> Self {
        Self {
            bytes: syscall::memory(PIECE).unwrap_or_default(),
            start: 0,
            end: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Reads up to `most` bytes; the kernel's answer.
    fn fill(&mut self, from: Fd, most: usize) -> syscall::Result<usize> {
        let room = most.min(self.bytes.len());
        let read = syscall::read(from, self.bytes.get_mut(..room).unwrap_or_default())?;
        (self.start, self.end) = (0, read);
        Ok(read)
    }

    /// How many bytes it has written.
    fn empty(&mut self, to: Fd) -> syscall::Result<usize> {
        let rest = self.bytes.get(self.start..self.end).unwrap_or_default();
        let written = syscall::write(to, rest)?;
        self.start += written;
        Ok(written)
    }
}

fn is_passing(errno: Errno) -> bool {
    errno == Errno::NOT_NOW || errno == Errno::INTERRUPTED
}

/// Output on its way from the command to a port.
pub struct Output {
    from: Fd,
    to: Fd,
    buffer: Buffer,
}

impl Output {
    pub fn new(from: Fd, to: Fd) -> Self {
        syscall::set_nonblocking(from);
        Self {
            from,
            to,
            buffer: Buffer::new(),
        }
    }

    fn waits_for(&self) -> (Fd, u16) {
        match self.buffer.is_empty() {
            true => (self.from, IN),
            false => (self.to, OUT),
        }
    }

    /// Moves what there is, and counts it in `sent`; whether there may be more.
    fn work(&mut self, sent: &mut u64) -> bool {
        if self.buffer.is_empty() {
            match self.buffer.fill(self.from, PIECE) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(errno) => return is_passing(errno),
            }
        }
        match self.buffer.empty(self.to) {
            Ok(written) => *sent += written as u64,
            Err(errno) => return is_passing(errno),
        }
        true
    }
}

/// Input on its way from a port, in frames of a length, two bytes, and so many bytes. One of length 0 is the end.
struct Input {
    from: Fd,
    to: Fd,
    buffer: Buffer,
    header: [u8; 2],
    header_length: usize,
    left: usize,
    is_paused: bool,
}

impl Input {
    fn waits_for(&self) -> (Fd, u16) {
        match self.buffer.is_empty() {
            true => (self.from, IN),
            false => (self.to, OUT),
        }
    }

    /// Moves what there is; whether there may be more.
    fn work(&mut self) -> bool {
        self.is_paused = false;
        if !self.buffer.is_empty() {
            return match self.buffer.empty(self.to) {
                Ok(_) => true,
                Err(errno) => is_passing(errno),
            };
        }
        let read = match self.left {
            0 => {
                let place = self
                    .header
                    .get_mut(self.header_length..)
                    .unwrap_or_default();
                syscall::read(self.from, place)
            }
            left => self.buffer.fill(self.from, left),
        };
        match read {
            // The host is not there yet.
            Ok(0) => {
                self.is_paused = true;
                true
            }
            Ok(length) if self.left > 0 => {
                self.left -= length;
                true
            }
            Ok(length) => {
                self.header_length += length;
                if self.header_length < self.header.len() {
                    return true;
                }
                self.header_length = 0;
                self.left = u16::from_le_bytes(self.header).into();
                self.left > 0
            }
            Err(errno) => is_passing(errno),
        }
    }
}

/// Everything that is waited for.
pub struct Pump {
    status: Fd,
    ends: Fd,
    child: i32,
    /// The receiver of signals: a process, or a group by its number below 0.
    signalled: i32,
    line: [u8; LINE],
    line_length: usize,
    is_deaf: bool,
    input: Option<Input>,
    pub outputs: [Option<Output>; 2],
    /// Bytes of output that the host has got.
    pub sent: [u64; 2],
}

impl Pump {
    pub fn new(status: Fd, ends: Fd, child: i32, signalled: i32) -> Self {
        Self {
            status,
            ends,
            child,
            signalled,
            line: [0; LINE],
            line_length: 0,
            is_deaf: false,
            input: None,
            outputs: [None, None],
            sent: [0; 2],
        }
    }

    /// Has the command fed by the port `from`, through the pipe `to`.
    pub fn feed(&mut self, from: Fd, to: Fd) {
        syscall::set_nonblocking(to);
        let (buffer, header) = (Buffer::new(), [0; 2]);
        self.input = Some(Input {
            from,
            to,
            buffer,
            header,
            header_length: 0,
            left: 0,
            is_paused: false,
        });
    }

    /// Until the command ends: its exit code.
    pub fn run(&mut self) -> u8 {
        loop {
            if let Some(code) = self.reap() {
                if let Some(input) = self.input.take() {
                    syscall::close(input.to);
                }
                return code;
            }
            self.turn(true);
        }
    }

    /// Until all output has come.
    pub fn finish(&mut self) {
        while self.outputs.iter().any(Option::is_some) {
            self.turn(false);
            // What the command has left behind ends too.
            self.reap();
        }
    }

    /// Takes note of all children that have ended; the exit code of the command, where it is one of them.
    fn reap(&self) -> Option<u8> {
        let mut code = None;
        while let Some((child, status)) = syscall::ended_child() {
            if child == self.child {
                code = Some(exit_code(status));
            }
        }
        code
    }

    /// Waits, and does what can be done.
    fn turn(&mut self, is_running: bool) {
        let nothing = Poll {
            fd: -1,
            wanted: 0,
            found: 0,
        };
        let wait = |(fd, wanted): (Fd, u16)| Poll {
            fd: fd.0 as i32,
            wanted,
            found: 0,
        };
        let mut list = [nothing; 5];
        list[0] = wait((self.ends, IN));
        let is_paused = self.is_deaf || self.input.as_ref().is_some_and(|it| it.is_paused);
        if !is_paused && is_running {
            list[1] = wait((self.status, IN));
            list[2] = self
                .input
                .as_ref()
                .map_or(nothing, |it| wait(it.waits_for()));
        }
        for (place, output) in list.iter_mut().skip(3).zip(&self.outputs) {
            *place = output.as_ref().map_or(nothing, |it| wait(it.waits_for()));
        }
        let time = if is_paused { PAUSE } else { -1 };
        if syscall::poll(&mut list, time).is_err() {
            return;
        }
        let [ends, status, input, outputs @ ..] = list;
        if ends.found != 0 {
            // One record for all of them: struct signalfd_siginfo.
            let _ = syscall::read(self.ends, &mut [0; 128]);
        }
        if is_running && (status.found != 0 || is_paused) {
            self.hear();
        }
        if (input.found != 0 || is_paused)
            && let Some(feeding) = &mut self.input
            && !feeding.work()
        {
            syscall::close(feeding.to);
            self.input = None;
        }
        for ((poll, output), sent) in outputs.iter().zip(&mut self.outputs).zip(&mut self.sent) {
            if poll.found != 0
                && let Some(moving) = output
                && !moving.work(sent)
            {
                syscall::close(moving.from);
                *output = None;
            }
        }
    }

    /// Passes on the signals that the host asks for.
    fn hear(&mut self) {
        let mut bytes = [0; LINE];
        let read = syscall::read(self.status, &mut bytes);
        self.is_deaf = read == Ok(0);
        for byte in bytes.iter().take(read.unwrap_or(0)) {
            if *byte != b'\n' {
                if let Some(place) = self.line.get_mut(self.line_length) {
                    *place = *byte;
                }
                self.line_length += 1;
                continue;
            }
            // A longer line says nothing.
            if let Some(signal) = self.line.get(..self.line_length).and_then(wire::signal) {
                syscall::kill(self.signalled, signal);
            }
            self.line_length = 0;
        }
    }
}

/// That of a shell.
fn exit_code(status: i32) -> u8 {
    match status & 0x7f {
        0 => (status >> 8) as u8,
        signal => 128 + signal as u8,
    }
}
