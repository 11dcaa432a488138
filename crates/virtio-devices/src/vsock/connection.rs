//! A connection: a UNIX socket, and what it is connected to.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmmkit_guest_memory::{GuestRam, Segment};
use vmmkit_host_io::Interest;
use vmmkit_virtio::Reader;

use super::greeting::{Greeting, Progress};
use super::link::Link;
use super::spec::{SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND};

/// Bytes at a time that are copied from RAM when the host takes no more.
const PIECE: usize = 4096;
/// How much memory a connection keeps for data that the host may not take.
const KEPT: usize = 16 << 10;

/// The peer of the socket.
#[derive(Debug)]
pub(super) enum Role {
    /// Nothing yet: the host program has not said the guest's port.
    Greeting(Greeting),
    /// A socket of the guest.
    Linked(Link),
    /// Nothing any more: the guest has closed, and the host takes what it sent before.
    Draining,
}

/// A connection of a host program.
#[derive(Debug)]
pub(super) struct Connection {
    socket: UnixStream,
    pub(super) role: Role,
    /// Bytes that the guest has sent and the host has not taken: no more than the guest's credit.
    held: VecDeque<u8>,
    /// There may be something to read.
    pub(super) is_readable: bool,
    /// The host program sends no more, takes no more.
    has_ended: bool,
    is_deaf: bool,
    /// It was found closed: of what it sent, what the socket still has is left to come.
    is_gone: bool,
    /// The guest shut down its side, and the socket therefore was.
    is_read_shut: bool,
    is_write_shut: bool,
    /// The events that the poller waits for.
    pub(super) watched: Option<Interest>,
    /// It waits for its turn to send to the guest.
    pub(super) is_queued: bool,
    /// The consequences of its state are still to be done.
    pub(super) is_touched: bool,
    /// It is closed then.
    pub(super) deadline: Option<Duration>,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, role: Role) -> Self {
        Self {
            socket: socket.into(),
            role,
            held: VecDeque::new(),
            is_readable: false,
            has_ended: false,
            is_deaf: false,
            is_gone: false,
            is_read_shut: false,
            is_write_shut: false,
            watched: None,
            is_queued: false,
            is_touched: false,
            deadline: None,
        }
    }

    pub(super) fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Whether the host program has not said where to.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.role, Role::Greeting(_))
    }

    pub(super) fn link(&mut self) -> Option<&mut Link> {
        match &mut self.role {
            Role::Linked(link) => Some(link),
            Role::Greeting(_) | Role::Draining => None,
        }
    }

    /// Reads the first line of the host program.
    pub(super) fn greet(&mut self) -> Progress {
        match &mut self.role {
            Role::Greeting(greeting) => greeting.read(&self.socket),
            Role::Linked(_) | Role::Draining => Progress::Refused,
        }
    }

    /// Tells the host program its port. One that has gone meanwhile does not hear it, and what it
    /// sent before is to be read all the same.
    pub(super) fn tell_port(&mut self, port: u32) {
        let line = format!("OK {port}\n");
        // Nothing was written before: there is room.
        let written = (&self.socket).write(line.as_bytes());
        if written.ok() != Some(line.len()) {
            self.become_deaf();
        }
    }

    /// Gives data of the guest to the host; what it does not take is held. The link has accepted
    /// them. How many bytes of `reader` are there has been checked.
    pub(super) fn take(
        &mut self,
        ram: &GuestRam,
        reader: &mut Reader<'_>,
        length: u32,
        pieces: &mut Vec<Segment>,
    ) {
        let mut done = 0;
        if self.is_deaf {
            done = length;
        } else if self.held.is_empty() && length > 0 {
            reader.rest(length.into(), pieces);
            match ram.send(&self.socket, pieces) {
                Ok(sent) => done = u32::try_from(sent).unwrap_or(length).min(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.become_deaf();
                    done = length;
                }
            }
            reader.skip(done.into());
        }
        self.forwarded(done);
        self.hold(reader, length - done);
    }

    fn hold(&mut self, reader: &mut Reader<'_>, length: u32) {
        let mut left = length as usize;
        let mut bytes = [0; PIECE];
        while left > 0 {
            let piece = bytes.get_mut(..left.min(PIECE)).unwrap_or_default();
            if reader.read(piece) != piece.len() {
                break;
            }
            self.held.extend(&*piece);
            left -= piece.len();
        }
    }

    /// Gives the host what is held, as far as it takes it; whether it took anything.
    pub(super) fn flush(&mut self) -> bool {
        let before = self.held.len();
        while !self.held.is_empty() && !self.is_deaf {
            let (first, second) = self.held.as_slices();
            let slices = [IoSlice::new(first), IoSlice::new(second)];
            match (&self.socket).write_vectored(&slices) {
                Ok(written) => {
                    self.held.drain(..written.min(self.held.len()));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.become_deaf(),
            }
        }
        if self.held.is_empty() && self.held.capacity() > KEPT {
            self.held = VecDeque::new();
        }
        let taken = before - self.held.len();
        // What is held is within 32 bits.
        self.forwarded(taken as u32);
        taken > 0
    }

    fn forwarded(&mut self, bytes: u32) {
        if let Role::Linked(link) = &mut self.role {
            link.forwarded(bytes);
        }
    }

    /// The host takes no more, and what is held is lost.
    fn become_deaf(&mut self) {
        self.is_deaf = true;
        self.is_gone = self.is_hung_up();
        self.held = VecDeque::new();
    }

    /// Whether anything more can come from the host.
    pub(super) fn may_be_read(&self) -> bool {
        !self.has_ended && !self.is_read_shut
    }

    /// The host sends no more.
    pub(super) fn end(&mut self) {
        self.has_ended = true;
        self.is_readable = false;
    }

    /// Looks whether the host program is gone.
    pub(super) fn is_hung_up(&self) -> bool {
        let mut look = [PollFd::new(&self.socket, PollFlags::empty())];
        let found = poll(&mut look, Some(&Timespec::default()));
        // A hang-up or an error is told without being asked for.
        found.is_ok_and(|found| found > 0)
    }

    /// The host program is gone.
    pub(super) fn hang_up(&mut self) {
        let lost = self.held.len();
        self.become_deaf();
        self.end();
        self.forwarded(lost as u32);
    }

    /// Whether everything of the guest has been taken, or nobody takes it.
    pub(super) fn is_drained(&self) -> bool {
        self.held.is_empty()
    }

    /// Does what follows from what each side has shut down; whether neither sends any more, and only
    /// the guest's RST is waited for.
    pub(super) fn shut_down(&mut self) -> bool {
        let Role::Linked(link) = &mut self.role else {
            return false;
        };
        if !link.is_established() {
            return false;
        }
        let sent_all = !link.guest_sends() && self.held.is_empty();
        if sent_all && !self.is_write_shut {
            self.is_write_shut = true;
            // A program that is gone is found by its end.
            let _ = self.socket.shutdown(Shutdown::Write);
        }
        if !link.guest_receives() && !self.is_read_shut {
            self.is_read_shut = true;
            self.is_readable = false;
            let _ = self.socket.shutdown(Shutdown::Read);
        }
        let gives_no_more = self.has_ended || self.is_read_shut;
        let takes_no_more = self.is_deaf || sent_all;
        if gives_no_more && takes_no_more {
            link.shut(SHUTDOWN_BOTH);
            return true;
        }
        if self.has_ended {
            link.shut(SHUTDOWN_SEND);
        }
        // Of a program that is gone, the guest first takes what it sent: a guest's program that is
        // broken off when it writes would not read that any more.
        if self.is_deaf && !self.is_gone {
            link.shut(SHUTDOWN_RECEIVE);
        }
        false
    }

    /// Whether there is something to send to the guest, and it would take it.
    pub(super) fn has_packets(&self) -> bool {
        match &self.role {
            Role::Linked(link) => link.owes() || self.is_readable && link.room() > 0,
            Role::Greeting(_) | Role::Draining => false,
        }
    }

    /// The events to wait for; `None` where not even a hang-up is of interest, which would be told again
    /// and again.
    pub(super) fn interest(&self) -> Option<Interest> {
        let is_held = !self.held.is_empty();
        let link = match &self.role {
            Role::Greeting(_) => return Some(Interest::Readable),
            Role::Draining => return Some(Interest::Writable),
            Role::Linked(link) => link,
        };
        let reads = !self.is_readable && self.may_be_read() && link.room() > 0;
        match Interest::of(reads, is_held) {
            // After the end only the hang-up is left to come, unless it would be our own doing.
            Interest::None => {
                let ended = self.has_ended || self.is_read_shut;
                let waits = ended && !self.is_deaf && !self.is_write_shut;
                waits.then_some(Interest::None)
            }
            wanted => Some(wanted),
        }
    }
}
