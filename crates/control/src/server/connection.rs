//! Connections: who may have one, how many there are, and how long they may take.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use vmmkit_host_io::Listener;

use super::body::AnswerBody;
use super::handler::Handler;
use super::patient::{Patient, Unhurried};
use super::recorded::Recorded;
use crate::Fault;

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
    handler: Arc<dyn Handler>,
    limits: Limits,
    room: Arc<Semaphore>,
    /// For those that are told that there is none.
    refused: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

impl Door {
    pub(super) fn new(handler: Arc<dyn Handler>, stopped: watch::Receiver<bool>) -> Self {
        let limits = handler.limits();
        Self {
            room: Arc::new(Semaphore::new(limits.connections)),
            refused: Arc::new(Semaphore::new(REFUSED)),
            handler,
            limits,
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
            let fault = match (admit(&stream), room) {
                (Ok(()), Ok(room)) => {
                    tokio::spawn(self.clone().serve(stream, room));
                    continue;
                }
                (Ok(()), Err(_)) => Fault::Crowded,
                (Err(fault), _) => fault,
            };
            if let Ok(turn) = self.refused.clone().try_acquire_owned() {
                tokio::spawn(refuse(stream, self.handler.refuse(fault), turn));
            }
        }
    }

    /// Waits until there is no connection.
    pub(super) async fn wait_until_empty(&self) {
        let all = u32::try_from(self.limits.connections).unwrap_or(u32::MAX);
        // It is never closed.
        let _ = self.room.acquire_many(all).await;
    }

    async fn serve(mut self, stream: UnixStream, room: OwnedSemaphorePermit) {
        let stream = Patient::new(TokioIo::new(stream), self.limits.patience);
        let unhurried = stream.unhurried();
        let mut connection = pin!(connection(&self.handler, stream, unhurried, false));
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
    handler: &Arc<dyn Handler>,
    stream: S,
    unhurried: Arc<AtomicBool>,
    half: bool,
) -> http1::Connection<S, Calls> {
    let limits = handler.limits();
    let calls = Calls {
        handler: handler.clone(),
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

/// The handler as hyper calls it.
struct Calls {
    handler: Arc<dyn Handler>,
    /// Raised where an answer's reader has all the time that it wants.
    unhurried: Arc<AtomicBool>,
}

impl hyper::service::Service<Request<Incoming>> for Calls {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (answer, unhurried) = (self.handler.respond(request), self.unhurried.clone());
        Box::pin(async move {
            let answer = answer.await;
            // Ordering: a flag alone, of one thread.
            if answer.extensions().get::<Unhurried>().is_some() {
                unhurried.store(true, Ordering::Relaxed);
            }
            Ok(answer)
        })
    }
}

/// Answers what is in `bytes`, and no more.
pub(super) async fn answer(handler: &Arc<dyn Handler>, bytes: &[u8]) -> Vec<u8> {
    handler.close();
    let (stream, answer) = Recorded::new(bytes);
    // What it ends with is in the answer, as far as a client would see it.
    let _ = connection(handler, stream, Arc::default(), true).await;
    answer.take()
}

/// Whether the process at the other end is of the same user, or root's.
fn admit(stream: &UnixStream) -> Result<(), Fault> {
    let user = stream.peer_cred().map(|peer| peer.uid()).ok();
    let own = rustix::process::geteuid().as_raw();
    match user {
        Some(user) if user == own || user == 0 => Ok(()),
        user => Err(Fault::Stranger { own, user }),
    }
}

/// Writes an answer to a client that will not be heard, and lets go of it.
async fn refuse(stream: UnixStream, answer: Response<Bytes>, turn: OwnedSemaphorePermit) {
    let bytes = written(&answer);
    let goodbye = async {
        // A new socket has room for a few hundred bytes, which tokio hears of at its next turn.
        if stream.writable().await.is_ok() {
            let _ = stream.try_write(&bytes);
        }
        let _ = rustix::net::shutdown(&stream, rustix::net::Shutdown::Write);
        // To close a socket with something to read in it would take the answer back (unix(7): ECONNRESET).
        let mut left = MAX_REFUSED;
        let mut read = [0; 1024];
        while left > 0 && stream.readable().await.is_ok() {
            match stream.try_read(&mut read) {
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

/// The last answer of a connection, as it is sent.
fn written(answer: &Response<Bytes>) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {}\r\n", answer.status()).into_bytes();
    for (name, value) in answer.headers() {
        let line = [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"];
        bytes.extend(line.concat());
    }
    let length = answer.body().len();
    let end = format!("content-length: {length}\r\nconnection: close\r\n\r\n");
    bytes.extend_from_slice(end.as_bytes());
    bytes.extend_from_slice(answer.body());
    bytes
}
