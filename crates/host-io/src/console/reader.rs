//! Input on the event loop.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};

use super::port::ConsolePort;
use crate::EventFd;
use crate::{InputRead, InputSource};

/// Reads the console's input into the port.
pub(super) struct InputReader {
    input: Option<Box<dyn InputSource>>,
    port: Arc<dyn ConsolePort>,
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
    pub(super) fn new(input: Box<dyn InputSource>, port: Arc<dyn ConsolePort>) -> io::Result<Self> {
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
                Ok(InputRead::Bytes(length)) => {
                    let news = space.get(..length).unwrap_or_default();
                    let taken = self.port.receive(news);
                    self.refused.extend(news.iter().skip(taken));
                    if self.watch != Watch::AlwaysReady {
                        self.resume(ops);
                        return;
                    }
                }
                Ok(InputRead::NotReady) => {
                    self.resume(ops);
                    return;
                }
                Ok(InputRead::End) | Err(_) => {
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
