//! From the back end to the driver: interrupts, errors, and the end.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use vmmkit_host_io::{EventFd, Interest, Poller, take_on_io_priority};
use vmmkit_virtio::{Fault, Queue, QueueInterrupt, Signal};

use super::Config;
use super::back_end::BackEnd;
use super::error::sentence;
use super::requests;

/// Tokens: twice a queue's number, and one more for its errors, are below these.
const STOP: u64 = u64::MAX;
const SOCKET: u64 = u64::MAX - 1;
const REQUESTS: u64 = u64::MAX - 2;

/// The thread does nothing that is deep.
const STACK: usize = 128 << 10;

/// A thread that waits for what a back end raises, and passes it on to the driver. Dropping it ends
/// the thread.
#[derive(Debug)]
pub(super) struct Forwarder {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What a back end raises for one queue.
#[derive(Debug)]
pub(super) struct Line {
    index: u16,
    /// Buffers were used.
    pub(super) call: EventFd,
    /// The ring cannot be gone on with.
    pub(super) error: EventFd,
    interrupt: QueueInterrupt,
}

#[derive(Debug)]
struct Shared {
    poller: Poller,
    stop: EventFd,
    /// Held from the drain of a call until the interrupt is raised, so that nothing is between them
    /// after [`Forwarder::flush`].
    lines: Mutex<Vec<Arc<Line>>>,
    back_end: Arc<BackEnd>,
    config: Arc<Config>,
    fault: Arc<Fault>,
}

impl Forwarder {
    /// A thread `name`, for a device without queues so far.
    pub(super) fn start(
        name: String,
        back_end: Arc<BackEnd>,
        config: Arc<Config>,
        fault: Arc<Fault>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            poller: Poller::new()?,
            stop: EventFd::new()?,
            lines: Mutex::default(),
            back_end,
            config,
            fault,
        });
        let poller = &shared.poller;
        poller.add(&shared.stop, STOP, Interest::Readable)?;
        if let Some(requests) = shared.back_end.requests() {
            poller.add(requests, REQUESTS, Interest::Readable)?;
        }
        let thread = Builder::new().name(name).stack_size(STACK).spawn({
            let shared = shared.clone();
            move || {
                // Who set it has tried it out.
                let _ = take_on_io_priority();
                if let Err(error) = shared.run() {
                    shared.fault.report(sentence(&error));
                }
            }
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Waits for the end of the back end too. Nothing else comes from it unasked.
    pub(super) fn watch(&self) -> io::Result<()> {
        let socket = self.shared.back_end.socket();
        self.shared.poller.add(socket, SOCKET, Interest::None)
    }

    /// Waits for what is raised for `queue` too.
    pub(super) fn add(&self, queue: &Queue) -> io::Result<Arc<Line>> {
        let index = queue.index();
        let line = Arc::new(Line {
            index,
            call: EventFd::new()?,
            error: EventFd::new()?,
            interrupt: queue.interrupt(),
        });
        let token = u64::from(index) << 1;
        self.shared.lines().push(line.clone());
        let poller = &self.shared.poller;
        poller.add(&line.call, token, Interest::Readable)?;
        poller.add(&line.error, token | 1, Interest::Readable)?;
        Ok(line)
    }

    /// Waits for `line` no more.
    pub(super) fn remove(&self, line: &Line) {
        let poller = &self.shared.poller;
        // ENOENT alone is possible, where adding failed half-way.
        let _ = poller.remove(line.call.as_fd());
        let _ = poller.remove(line.error.as_fd());
        self.shared.lines().retain(|kept| kept.index != line.index);
    }

    /// Passes on what was raised before this call: none of it comes after it.
    pub(super) fn flush(&self) {
        for line in self.shared.lines().iter() {
            line.forward();
        }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.shared.stop.notify();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Line {
    fn forward(&self) {
        if self.call.drain() > 0 {
            self.interrupt.signal();
        }
    }
}

impl Shared {
    fn run(&self) -> io::Result<()> {
        let mut ready = Vec::with_capacity(32);
        loop {
            self.poller.wait(&mut ready)?;
            for event in ready.drain(..) {
                match event.token {
                    STOP => return Ok(()),
                    SOCKET => self.end()?,
                    REQUESTS => self.answer()?,
                    token => self.forward(token),
                }
            }
        }
    }

    fn forward(&self, token: u64) {
        let lines = self.lines();
        let Some(line) = lines
            .iter()
            .find(|line| u64::from(line.index) == token >> 1)
        else {
            return;
        };
        if token & 1 == 0 {
            line.forward();
        } else if line.error.drain() > 0 {
            let (path, index) = (self.back_end.path().display(), line.index);
            self.fault.report(format!(
                "the vhost-user back end at {path} cannot go on with queue {index}"
            ));
        }
    }

    fn end(&self) -> io::Result<()> {
        let path = self.back_end.path().display();
        self.fault
            .report(format!("the vhost-user back end at {path} hung up"));
        self.poller.remove(self.back_end.socket())
    }

    /// Answers a request of the back end's; one that does not keep the protocol is not listened to
    /// any more.
    fn answer(&self) -> io::Result<()> {
        let Some(socket) = self.back_end.requests() else {
            return Ok(());
        };
        match requests::answer(socket) {
            Ok(requests::Outcome::ConfigChanged) => self.config.refresh(&self.back_end),
            Ok(requests::Outcome::Unknown) => {}
            Err(_) => self.poller.remove(socket)?,
        }
        Ok(())
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
