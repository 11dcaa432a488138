//! A console at a UNIX socket, to which clients come and from which they go.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rustix::net::{SendFlags, send};

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};

#[cfg(doc)]
use crate::OutputBuffer;
use crate::{Interest, Listener, Poller, Ready, Sink, Written};

/// How much of the output a client who comes late gets to see.
const REPLAY: usize = 64 << 10;
/// How much is taken over at once, and how much of the input waits here.
const CHUNK: usize = 4096;
/// How many clients may wait.
const MAX_WAITING: usize = 8;
/// The text for a client that has to wait.
const WAIT: &[u8] = b"[another client has this console: it is yours when he leaves]\r\n";
/// How many chunks are taken over before other events get their turn.
const TURNS: usize = 16;

const LISTENER: u64 = 0;
const DEVICE: u64 = 1;
const CLIENT: u64 = 2;

/// A console's end at a UNIX socket. It passes bytes between whatever client there is and the
/// descriptor that the console has for its input and output.
///
/// One client has it at a time; others are told so, and wait until he leaves. Each first gets the last
/// 64 KiB of output, whoever saw them before. While there is nobody, output goes to that memory only; a
/// client who reads slowly slows the guest's output, as a pipe does (an [`OutputBuffer`] with patience
/// bounds that). What a client typed goes to the guest
/// also after he left. Only the user of this process may connect.
///
/// Threads: the event loop's, and whoever calls [`finish`](Self::finish).
#[derive(Clone, Debug)]
pub struct ConsoleSocket(Arc<Mutex<Relay>>);

impl ConsoleSocket {
    /// Listens at `path`, in place of a socket that nobody listens on; the second value is the
    /// console's input and output. The file goes with the last clone.
    ///
    /// # Errors
    /// The host's: no such folder, or another process listens there.
    pub fn listen(path: &Path) -> io::Result<(Self, OwnedFd)> {
        let (device, console) = UnixStream::pair()?;
        device.set_nonblocking(true)?;
        let mut relay = Relay {
            listener: Listener::bind(path)?,
            output: device.try_clone()?,
            input: Sink::new(device.into()),
            client: None,
            waiting: VecDeque::new(),
            replay: VecDeque::new(),
            to_client: VecDeque::new(),
            to_device: VecDeque::new(),
            poller: Poller::new()?,
        };
        relay
            .poller
            .add(&relay.listener, LISTENER, Interest::Readable)?;
        relay
            .poller
            .add(&relay.output, DEVICE, Interest::Readable)?;
        relay.settle();
        Ok((Self(Arc::new(Mutex::new(relay))), console.into()))
    }

    /// The subscriber to run on the event loop for it.
    pub fn subscriber(&self) -> Box<dyn MutEventSubscriber + Send> {
        Box::new(self.clone())
    }

    /// Passes the last of the output to the client, if there is one, waiting for him up to `limit`:
    /// the last act before exit, when nothing writes any more.
    pub fn finish(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut relay = self.lock();
        relay.listener.remove_file();
        loop {
            relay.pass();
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(client) = relay
                .client
                .as_ref()
                .filter(|_| !relay.to_client.is_empty())
            else {
                return;
            };
            if left.is_zero() || !crate::pollable::wait_writable(client.sink.as_fd(), left) {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Relay> {
        self.0.lock()
    }
}

impl MutEventSubscriber for ConsoleSocket {
    fn process(&mut self, _events: Events, _ops: &mut EventOps<'_>) {
        self.lock().pass();
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        let poller = self.lock().poller.as_fd().as_raw_fd();
        // Refused only by a host out of memory: the console then has no clients.
        let _ = ops.add(Events::new_raw(poller, EventSet::IN));
    }
}

#[derive(Debug)]
struct Relay {
    listener: Listener,
    /// The console's output comes from here.
    output: UnixStream,
    /// The same socket, to which its input goes.
    input: Sink,
    client: Option<Client>,
    /// Those who come next.
    waiting: VecDeque<UnixStream>,
    /// The last bytes of output.
    replay: VecDeque<u8>,
    /// Output that the client has not taken.
    to_client: VecDeque<u8>,
    /// Input that the console has not taken.
    to_device: VecDeque<u8>,
    poller: Poller,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    sink: Sink,
    /// He may type more.
    types: bool,
    /// The events waited for; `None` where not even its hang-up is.
    watched: Option<Interest>,
}

impl Client {
    /// The events to wait for. A client that left while the console takes nothing of what it typed is hung up
    /// for as long as that lasts, which epoll(7) tells of each time: he is read to his end later.
    fn interest(&self, reads: bool, writes: bool) -> Option<Interest> {
        let waits = reads || writes || !self.types;
        waits.then(|| Interest::of(reads, writes))
    }

    fn watch(&mut self, poller: &Poller, interest: Option<Interest>) {
        // They fail for a host out of memory only.
        let _ = match (self.watched, interest) {
            (None, None) => Ok(()),
            (None, Some(interest)) => poller.add(&self.stream, CLIENT, interest),
            (Some(_), Some(interest)) => poller.change(&self.stream, CLIENT, interest),
            (Some(_), None) => poller.remove(&self.stream),
        };
        self.watched = interest;
    }
}

impl Relay {
    /// Passes on what can be passed on, and waits for the rest.
    fn pass(&mut self) {
        loop {
            for _ in 0..TURNS {
                self.accept();
                let moved = [
                    self.take_output(),
                    self.write_output(),
                    self.take_input(),
                    self.write_input(),
                ];
                if !moved.contains(&true) {
                    break;
                }
            }
            self.note_hang_up();
            // The next one has waited long enough: nothing else would tell of it.
            if self.client.is_some() || self.waiting.is_empty() {
                break;
            }
        }
        self.have_wait();
        self.settle();
    }

    fn accept(&mut self) {
        if self.client.is_some() {
            return;
        }
        let next = self.waiting.pop_front();
        let Some(stream) = next.or_else(|| self.listener.accept()) else {
            return;
        };
        let Ok(copy) = stream.try_clone() else {
            return;
        };
        if stream.set_nonblocking(true).is_err()
            || self.poller.add(&stream, CLIENT, Interest::None).is_err()
        {
            return;
        }
        self.to_client = self.replay.clone();
        self.client = Some(Client {
            stream,
            sink: Sink::new(copy.into()),
            types: true,
            watched: Some(Interest::None),
        });
    }

    /// Tells clients that there is one already.
    fn have_wait(&mut self) {
        while self.client.is_some() && self.waiting.len() < MAX_WAITING {
            let Some(stream) = self.listener.accept() else {
                return;
            };
            // A new socket has room for a line; one that is closed already has no reader for it.
            let _ = send(&stream, WAIT, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            self.waiting.push_back(stream);
        }
    }

    /// Takes output from the console, unless the client is behind.
    fn take_output(&mut self) -> bool {
        if !self.to_client.is_empty() {
            return false;
        }
        let mut bytes = [0; CHUNK];
        let Ok(length @ 1..) = self.output.read(&mut bytes) else {
            return false;
        };
        let news = bytes.get(..length).unwrap_or_default();
        let old = (self.replay.len() + length).saturating_sub(REPLAY);
        self.replay.drain(..old);
        self.replay.extend(news);
        if self.client.is_some() {
            self.to_client.extend(news);
        }
        true
    }

    fn write_output(&mut self) -> bool {
        let Some(client) = &self.client else {
            return false;
        };
        match write_some(&client.sink, &mut self.to_client) {
            Some(moved) => moved,
            None => {
                self.lose_client();
                true
            }
        }
    }

    /// Takes what the client typed, unless the console is behind.
    fn take_input(&mut self) -> bool {
        let Some(client) = self.client.as_mut().filter(|client| client.types) else {
            return false;
        };
        if !self.to_device.is_empty() {
            return false;
        }
        let mut bytes = [0; CHUNK];
        match client.stream.read(&mut bytes) {
            // He may still listen: `nc -N`, or a shell's here-document.
            Ok(0) => client.types = false,
            Ok(length) => self.to_device.extend(bytes.iter().take(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.lose_client(),
        }
        true
    }

    fn write_input(&mut self) -> bool {
        // The console's end goes with the machine: nobody is there to type for then.
        write_some(&self.input, &mut self.to_device).unwrap_or(false)
    }

    /// A client who neither types nor listens has left.
    fn note_hang_up(&mut self) {
        let mut ready: Vec<Ready> = Vec::new();
        if self.client.as_ref().is_none_or(|client| client.types) {
            return;
        }
        self.settle();
        if self.poller.look(&mut ready).is_ok()
            && self.to_client.is_empty()
            && ready.iter().any(|it| it.token == CLIENT && it.readable)
        {
            self.lose_client();
        }
    }

    fn lose_client(&mut self) {
        if let Some(mut client) = self.client.take() {
            // Before it is closed: the poller holds what the descriptor stands for.
            client.watch(&self.poller, None);
        }
        self.to_client.clear();
    }

    /// Waits for what there is to wait for.
    fn settle(&mut self) {
        let device = Interest::of(self.to_client.is_empty(), !self.to_device.is_empty());
        // They fail for descriptors that were not added only.
        let _ = self.poller.change(&self.output, DEVICE, device);
        let has_room = self.client.is_none() || self.waiting.len() < MAX_WAITING;
        let listener = Interest::of(has_room, false);
        let _ = self.poller.change(&self.listener, LISTENER, listener);
        if let Some(client) = &mut self.client {
            let reads = client.types && self.to_device.is_empty();
            let interest = client.interest(reads, !self.to_client.is_empty());
            client.watch(&self.poller, interest);
        }
    }
}

/// Writes from the front of `bytes`; whether anything was written. `None` where nobody reads any more.
fn write_some(sink: &Sink, bytes: &mut VecDeque<u8>) -> Option<bool> {
    let first = bytes.as_slices().0;
    if first.is_empty() {
        return Some(false);
    }
    match sink.write(first) {
        Ok(Written::Bytes(length)) => {
            bytes.drain(..length);
            Some(true)
        }
        Ok(Written::Full) => Some(false),
        Ok(Written::Gone) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests;
