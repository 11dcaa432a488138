//! Connections: who may have one, how many there are, and how long they may take.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use vmmkit_host_io::Listener;

use super::Api;
use super::body::AnswerBody;
use super::patient::{Patient, Unhurried};
use super::recorded::Recorded;
use crate::Problem;

/// Resources of the server that a client may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at the same time; another one is told so and closed.
    pub connections: usize,
    /// Streams of events among them.
    pub streams: usize,
    /// Bytes of a request's head. At least 8 KiB.
    pub head_bytes: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// How long a head may take to arrive, from the end of the request before; how long a body may
    /// take; and how long a client may read nothing of an answer.
    pub patience: Duration,
}

impl Default for Limits {
    /// 64 connections, 16 streams, 16 KiB, 64 KiB, 10 seconds.
    fn default() -> Self {
        Self {
            connections: 64,
            streams: 16,
            head_bytes: 16 << 10,
            body_bytes: 64 << 10,
            patience: Duration::from_secs(10),
        }
    }
}

/// The most lines of a head.
const MAX_HEADERS: usize = 64;
/// Connections at the same time that are refused with a word; more are just closed.
const REFUSED: usize = 8;
/// Bytes read from a client that is refused, and for how long.
const MAX_REFUSED: usize = 64 << 10;
const REFUSAL: Duration = Duration::from_secs(1);

/// Lets connections in.
#[derive(Clone)]
pub(super) struct Door {
    api: Api,
    room: Arc<Semaphore>,
    /// For those that are told that there is none.
    refused: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

impl Door {
    pub(super) fn new(api: Api, stopped: watch::Receiver<bool>) -> Self {
        Self {
            room: Arc::new(Semaphore::new(api.limits.connections)),
            refused: Arc::new(Semaphore::new(REFUSED)),
            api,
            stopped,
        }
    }

    /// Takes connections of `listener`, for ever.
    pub(super) async fn accept(self, listener: AsyncFd<Arc<Listener>>) {
        loop {
            // An error is a runtime that is at its end.
            let Ok(mut ready) = listener.readable().await else {
                return;
            };
            let Some(stream) = listener.get_ref().accept() else {
                ready.clear_ready();
                continue;
            };
            // Refused where the host has no memory for it: closed, as one that is not accepted is later.
            let Ok(stream) = nonblocking(stream) else {
                continue;
            };
            let room = self.room.clone().try_acquire_owned();
            let problem = match (admit(&stream), room) {
                (Ok(()), Ok(room)) => {
                    tokio::spawn(self.clone().serve(stream, room));
                    continue;
                }
                (Ok(()), Err(_)) => Problem::busy("there are too many connections"),
                (Err(problem), _) => problem,
            };
            if let Ok(turn) = self.refused.clone().try_acquire_owned() {
                tokio::spawn(refuse(stream, problem, turn));
            }
        }
    }

    /// Waits until there is no connection.
    pub(super) async fn wait_until_empty(&self) {
        let all = u32::try_from(self.api.limits.connections).unwrap_or(u32::MAX);
        // It is never closed.
        let _ = self.room.acquire_many(all).await;
    }

    async fn serve(mut self, stream: UnixStream, room: OwnedSemaphorePermit) {
        let stream = Patient::new(TokioIo::new(stream), self.api.limits.patience);
        let unhurried = stream.unhurried();
        let mut connection = pin!(connection(&self.api, stream, unhurried, false));
        let mut stopping = pin!(self.stopped.wait_for(|stop| *stop));
        let mut is_stopping = false;
        poll_fn(|context| {
            if !is_stopping && stopping.as_mut().poll(context).is_ready() {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            // A client that breaks the protocol or goes away gets no more, and nobody else cares.
            connection.as_mut().poll(context).map(drop)
        })
        .await;
        drop(room);
    }
}

fn nonblocking(stream: StdStream) -> io::Result<UnixStream> {
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// The server of one connection; `half` of it may have been closed by a client that still reads.
fn connection<S: Read + Write + Unpin>(
    api: &Api,
    stream: S,
    unhurried: Arc<AtomicBool>,
    half: bool,
) -> http1::Connection<S, Calls> {
    let limits = api.limits;
    let calls = Calls {
        api: api.clone(),
        unhurried,
    };
    http1::Builder::new()
        .half_close(half)
        .timer(TokioTimer::new())
        .header_read_timeout(limits.patience)
        .max_buf_size(limits.head_bytes.max(8 << 10))
        .max_headers(MAX_HEADERS)
        .auto_date_header(false)
        .serve_connection(stream, calls)
}

/// The API as hyper calls it.
struct Calls {
    api: Api,
    /// Raised where an answer's reader has all the time that it wants.
    unhurried: Arc<AtomicBool>,
}

impl Service<Request<Incoming>> for Calls {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (api, unhurried) = (self.api.clone(), self.unhurried.clone());
        Box::pin(async move {
            let answer = api.respond(request).await;
            // Ordering: a flag alone, of one thread.
            if answer.extensions().get::<Unhurried>().is_some() {
                unhurried.store(true, Ordering::Relaxed);
            }
            Ok(answer)
        })
    }
}

/// Answers what is in `bytes`, and no more.
pub(super) async fn answer(api: &Api, bytes: &[u8]) -> Vec<u8> {
    api.streams.close();
    api.consoles.close();
    let (stream, answer) = Recorded::new(bytes);
    // What it ends with is in the answer, as far as a client would see it.
    let _ = connection(api, stream, Arc::default(), true).await;
    answer.take()
}

/// Whether the process at the other end is of the same user, or root's.
fn admit(stream: &UnixStream) -> Result<(), Problem> {
    let peer = stream.peer_cred().map(|peer| peer.uid());
    let own = rustix::process::geteuid().as_raw();
    match peer {
        Ok(uid) if uid == own || uid == 0 => Ok(()),
        Ok(uid) => Err(Problem::new(
            hyper::StatusCode::FORBIDDEN,
            "forbidden",
            format!("this machine belongs to user {own}, and you are user {uid}"),
        )),
        Err(_) => Err(Problem::internal("the client's user is not known")),
    }
}

/// Writes an answer to a client that will not be heard, and lets go of it.
async fn refuse(stream: UnixStream, problem: Problem, turn: OwnedSemaphorePermit) {
    let body = problem.json();
    let head = format!(
        "HTTP/1.1 {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: \
         close\r\n\r\n",
        problem.status(),
        body.len()
    );
    let answer = [head.as_bytes(), &body].concat();
    let goodbye = async {
        // A new socket has room for a few hundred bytes, which tokio hears of at its next turn.
        if stream.writable().await.is_ok() {
            let _ = stream.try_write(&answer);
        }
        let _ = rustix::net::shutdown(&stream, rustix::net::Shutdown::Write);
        // To close a socket with something to read in it would take the answer back (unix(7): ECONNRESET).
        let mut left = MAX_REFUSED;
        let mut bytes = [0; 1024];
        while left > 0 && stream.readable().await.is_ok() {
            match stream.try_read(&mut bytes) {
                Ok(0) => break,
                Ok(length) => left = left.saturating_sub(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
    };
    let _ = tokio::time::timeout(REFUSAL, goodbye).await;
    drop(turn);
}
