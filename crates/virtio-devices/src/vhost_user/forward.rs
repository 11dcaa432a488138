//! From the back end to the driver: interrupts, errors, and the end.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use vmmkit_host_io::{EventFd, FdSocket, Interest, Poller, ThreadSpec, TimerFd};
use vmmkit_telemetry::error_line;
use vmmkit_virtio::Queue;

use super::line::Line;
use super::requests;
use super::work::Work;

/// Tokens: twice a queue's number, and one more for its errors, are below these.
const STOP: u64 = u64::MAX;
const SOCKET: u64 = u64::MAX - 1;
const REQUESTS: u64 = u64::MAX - 2;
const LOST: u64 = u64::MAX - 3;
const AGAIN: u64 = u64::MAX - 4;

/// How long it takes from one look for a lost back end to the next: the first time, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The thread does nothing that is deep.
const STACK: usize = 128 << 10;

/// A thread that waits for what a back end raises, and passes it on to the driver. Dropping it ends
/// the thread.
#[derive(Debug)]
pub(super) struct Forwarder {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    poller: Poller,
    stop: EventFd,
    /// Held from the drain of a call until the interrupt is raised, so that nothing is between them
    /// after [`Forwarder::flush`].
    lines: Mutex<Vec<Arc<Line>>>,
    work: Arc<Work>,
    /// When to look for a lost back end.
    again: TimerFd,
    watched: Mutex<Watched>,
}

/// The connection that is waited for.
#[derive(Debug, Default)]
struct Watched {
    socket: Option<Arc<FdSocket>>,
    requests: Option<Arc<FdSocket>>,
}

impl Forwarder {
    /// Starts `thread`, for a device without queues so far.
    pub(super) fn start(thread: ThreadSpec, work: Arc<Work>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            poller: Poller::new()?,
            stop: EventFd::new()?,
            lines: Mutex::default(),
            work,
            again: TimerFd::new()?,
            watched: Mutex::default(),
        });
        let poller = &shared.poller;
        poller.add(&shared.stop, STOP, Interest::Readable)?;
        poller.add(&shared.work.lost, LOST, Interest::Readable)?;
        poller.add(&shared.again, AGAIN, Interest::Readable)?;
        let thread = thread.stack_size(STACK).spawn({
            let shared = shared.clone();
            move || {
                if let Err(error) = shared.run() {
                    shared.work.fault.report(error_line(&error));
                }
            }
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Waits for the end of the back end too, and for its requests. Nothing else comes from it
    /// unasked.
    pub(super) fn watch(&self) -> io::Result<()> {
        self.shared.watch()
    }

    /// Waits for what is raised for `queue` too.
    pub(super) fn add(&self, queue: &Queue) -> io::Result<Arc<Line>> {
        let index = queue.index();
        let line = Arc::new(Line::new(queue)?);
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
        self.shared
            .lines()
            .retain(|kept| kept.index() != line.index());
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

impl Shared {
    fn run(&self) -> io::Result<()> {
        let mut ready = Vec::with_capacity(32);
        let mut pause = FIRST_PAUSE;
        loop {
            self.poller.wait(&mut ready)?;
            for event in ready.drain(..) {
                match event.token {
                    STOP => return Ok(()),
                    SOCKET => {
                        self.unwatch();
                        self.work.hung_up();
                    }
                    REQUESTS => self.answer()?,
                    LOST => {
                        self.work.lost.drain();
                        pause = FIRST_PAUSE;
                        self.again.arm_once(pause);
                    }
                    AGAIN => {
                        self.again.drain();
                        self.unwatch();
                        if self.work.revive() {
                            self.watch()?;
                        } else {
                            pause = (2 * pause).min(LONGEST_PAUSE);
                            self.again.arm_once(pause);
                        }
                        // What was ready of the old connection is not of the new one.
                        break;
                    }
                    token => self.forward(token),
                }
            }
        }
    }

    fn watch(&self) -> io::Result<()> {
        if self.work.back_end.is_gone() {
            return Ok(());
        }
        let (socket, requests) = self.work.back_end.sockets();
        self.poller.add(&*socket, SOCKET, Interest::None)?;
        if let Some(requests) = &requests {
            self.poller.add(&**requests, REQUESTS, Interest::Readable)?;
        }
        *self.watched.lock() = Watched {
            socket: Some(socket),
            requests,
        };
        Ok(())
    }

    fn unwatch(&self) {
        let Watched { socket, requests } = std::mem::take(&mut *self.watched.lock());
        for watched in socket.into_iter().chain(requests) {
            // ENOENT alone is possible, for requests that are not listened to any more.
            let _ = self.poller.remove(&*watched);
        }
    }

    fn forward(&self, token: u64) {
        let lines = self.lines();
        let Some(line) = lines
            .iter()
            .find(|line| u64::from(line.index()) == token >> 1)
        else {
            return;
        };
        if token & 1 == 0 {
            line.forward();
        } else if line.error.drain() > 0 {
            let (path, index) = (self.work.back_end.path().display(), line.index());
            self.work.fault.report(format!(
                "the vhost-user back end at {path} cannot go on with queue {index}"
            ));
        }
    }

    /// Answers a request of the back end's; one that does not keep the protocol is not listened to
    /// any more.
    fn answer(&self) -> io::Result<()> {
        let Some(socket) = self.watched.lock().requests.clone() else {
            return Ok(());
        };
        match requests::answer(&socket) {
            Ok(requests::Outcome::ConfigChanged) => self.work.config.refresh(&self.work.back_end),
            Ok(requests::Outcome::Unknown) => {}
            Err(_) => self.poller.remove(&*socket)?,
        }
        Ok(())
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Arc<Line>>> {
        self.lines.lock()
    }
}
