//! The server: one thread, `api`, with tokio's runtime on it, and at most two more for calls that
//! wait for the machine. It serves the API of a machine, or a table of its embedder's.

mod body;
mod calls;
mod connection;
mod console;
mod handler;
mod patient;
mod recorded;
mod service;
mod streams;
mod tabled;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use vmmkit_host_io::{Listener, ThreadRole, ThreadSpec, ThreadStart};
use vmmkit_telemetry::Occasions;

use crate::Controlled;
use connection::{Door, Limits};
use console::ConsoleStreams;
use handler::Handler;
use streams::Streams;

pub use connection::Limits as Limited;
pub(crate) use console::REPLAYED;
pub use service::Service;

/// Calls that may wait for the machine at the same time.
const WAITING_CALLS: usize = 2;
/// How long a thread of such calls stays without one.
const THREAD_IDLE: Duration = Duration::from_secs(1);

/// The API of one machine.
#[derive(Clone)]
pub struct Api {
    machine: Arc<dyn Controlled>,
    streams: Arc<Streams>,
    consoles: Arc<ConsoleStreams>,
    /// Timer that stops a guest which was asked to.
    stopping: Arc<Mutex<Option<AbortHandle>>>,
    limits: Limits,
    /// The title of the document, if not the usual one.
    title: Option<Arc<str>>,
    /// Those that were answered, for a log.
    requests: Arc<Occasions>,
}

impl Api {
    /// The API of `machine`, with the usual limits.
    pub fn new(machine: Arc<dyn Controlled>) -> Self {
        Self {
            streams: Arc::new(Streams::new()),
            consoles: Arc::new(ConsoleStreams::new(Limits::default().streams)),
            machine,
            stopping: Arc::default(),
            limits: Limits::default(),
            title: None,
            requests: Arc::default(),
        }
    }

    /// With other limits.
    #[must_use]
    pub fn limited(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self.consoles = Arc::new(ConsoleStreams::new(limits.streams));
        self
    }

    /// With `title` as that of the OpenAPI document that it serves, such as the embedder's name.
    #[must_use]
    pub fn titled(mut self, title: &str) -> Self {
        self.title = Some(title.into());
        self
    }

    /// The answer to a client that sends `bytes` and no more: the server without a socket. A stream
    /// among the requests ends at once, as does typing on the console.
    ///
    /// # Errors
    /// The host's, when it has no descriptor or thread left.
    pub fn answer(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        Service::from(self.clone()).answer(bytes)
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// A running server. Dropping it leaves the server to itself; [`stop`](Self::stop) ends it.
#[derive(Debug)]
pub struct Server {
    stop: watch::Sender<bool>,
    /// Closed when the thread is at its end.
    ended: Receiver<()>,
}

impl Server {
    /// Serves `service`, such as an [`Api`], at `places`, on a thread of its own, which keeps them. Clients that have connected
    /// before are served too.
    ///
    /// # Errors
    /// The host's, when it has no thread, descriptor or memory left.
    pub fn start(service: impl Into<Service>, places: Vec<Arc<Listener>>) -> io::Result<Self> {
        let Service { handler, thread } = service.into();
        let (stop, stopped) = watch::channel(false);
        let (end, ended) = channel();
        let helpers = Arc::new(OnceLock::new());
        let runtime = runtime(true, &thread, helpers.clone())?;
        ThreadSpec::new(ThreadRole::Server, &*thread.clone()).spawn(move || {
            // This thread starts them, and no other.
            let _ = helpers.set(ThreadStart::of(ThreadRole::Server, &thread));
            runtime.block_on(serve(handler, &places, stopped));
            runtime.shutdown_background();
            drop(places);
            drop(end);
        })?;
        Ok(Self { stop, ended })
    }

    /// Ends the streams of events, lets answers that are under way go out, and ends the server: after
    /// `grace` it does not wait for them any more.
    pub fn stop(self, grace: Duration) {
        // Nobody listens where the thread is gone already.
        let _ = self.stop.send(true);
        match self.ended.recv_timeout(grace) {
            Ok(()) | Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => {}
        }
    }
}

/// `helpers` is the first thing that threads do which the runtime starts.
fn runtime(
    with_io: bool,
    thread: &str,
    helpers: Arc<OnceLock<ThreadStart>>,
) -> io::Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    builder
        .enable_time()
        .thread_name(thread)
        .on_thread_start(move || {
            if let Some(start) = helpers.get() {
                start.begin();
            }
        })
        .max_blocking_threads(WAITING_CALLS)
        .thread_keep_alive(THREAD_IDLE);
    if with_io {
        builder.enable_io();
    }
    builder.build()
}

/// Accepts until it is told to stop, then waits for the connections.
async fn serve(
    handler: Arc<dyn Handler>,
    places: &[Arc<Listener>],
    mut stopped: watch::Receiver<bool>,
) {
    let door = Door::new(handler.clone(), stopped.clone());
    let mut accepting = JoinSet::new();
    for place in places {
        // Refused only by a host out of memory: nobody is let in there then.
        if let Ok(listener) = watched(place.clone()) {
            accepting.spawn(door.clone().accept(listener));
        }
    }
    // An error is a sender that is gone: then nobody will ever stop it, and it serves on.
    if stopped.wait_for(|stop| *stop).await.is_err() {
        while accepting.join_next().await.is_some() {}
    }
    accepting.shutdown().await;
    handler.wait_for_the_last().await;
    handler.close();
    door.wait_until_empty().await;
}

#[expect(
    deprecated,
    reason = "what takes its place is unsafe: a descriptor must stay open and the same, as a listener's does"
)]
fn watched(listener: Arc<Listener>) -> io::Result<AsyncFd<Arc<Listener>>> {
    AsyncFd::with_interest(listener, Interest::READABLE)
}
