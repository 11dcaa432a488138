//! The machine's console: its last output, streams of it, and one client that types.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use tokio::sync::mpsc::{self, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use vmmkit_host_io::{ConsoleTap, TapLost, TapReader, TapTaken, TapWriter};

use super::Api;
use super::body::AnswerBody;
use super::calls::{Answered, json, whole};
use super::patient::Unhurried;
use crate::routes::Route;
use crate::{ConsoleSize, Problem, Refusal};

/// The bytes of a piece of output.
const PIECE: usize = 16 << 10;
/// How long the first byte of a burst may wait for the rest: a guest prints a line byte by byte.
const LINGER: Duration = Duration::from_millis(3);
/// How many bytes are not waited with.
const ENOUGH: u64 = 4096;
/// The header with the length of the output from before the request, at the beginning of the answer.
pub(crate) const REPLAYED: &str = "replayed-bytes";
const OCTETS: &str = "application/octet-stream";

/// The streams of a server.
#[derive(Debug)]
pub(super) struct ConsoleStreams {
    room: Arc<Semaphore>,
    closed: watch::Sender<bool>,
}

impl ConsoleStreams {
    pub(super) fn new(most: usize) -> Self {
        Self {
            room: Arc::new(Semaphore::new(most)),
            closed: watch::channel(false).0,
        }
    }

    /// Ends every stream after the output that there is, and the typing.
    pub(super) fn close(&self) {
        self.closed.send_replace(true);
    }
}

impl Api {
    /// The last output.
    pub(super) fn console_log(&self) -> Answered {
        Ok(whole(StatusCode::OK, OCTETS, self.console()?.tail()))
    }

    /// A stream of the last output and all that follows.
    pub(super) fn console_output(&self) -> Answered {
        let reader = self.console()?.reader();
        let busy = |_| Problem::busy("there are too many streams of the console");
        let room = self.consoles.room.clone().try_acquire_owned();
        let room = room.map_err(busy)?;
        let kept = reader.kept();
        let (sender, pieces) = mpsc::channel(1);
        let closed = self.consoles.closed.subscribe();
        tokio::spawn(pass_on(reader, sender, closed, room));
        let mut answer = Response::new(AnswerBody::Pieces(pieces));
        answer.extensions_mut().insert(Unhurried);
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(OCTETS));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(HeaderName::from_static(REPLAYED), HeaderValue::from(kept));
        Ok(answer)
    }

    /// Types the body on the console as it arrives, as fast as the guest reads it.
    pub(super) async fn console_input(
        &self,
        route: &Route,
        request: Request<Incoming>,
        takes_over: bool,
    ) -> Answered {
        let mut writer = self.console()?.writer(takes_over).map_err(taken)?;
        let mut closed = self.consoles.closed.subscribe();
        let mut closing = pin!(closed.wait_for(|closed| *closed));
        let mut typing = pin!(type_all(&mut writer, request.into_body()));
        // At the machine's end nobody reads what is typed.
        let typed = poll_fn(|context| match typing.as_mut().poll(context) {
            Poll::Pending => closing.as_mut().poll(context).map(|_| Ok(())),
            ready => ready,
        });
        typed.await?;
        json(route, &self.machine.machine())
    }

    /// Tells the guest the size of the terminal.
    pub(super) async fn console_size(&self, request: Request<Incoming>) -> Answered {
        let size: ConsoleSize = self
            .read(request)
            .await?
            .ok_or_else(super::calls::no_body)?;
        for (field, value) in [("columns", size.columns), ("rows", size.rows)] {
            if value == 0 {
                return Err(Problem::bad_field(field, "it is 0"));
            }
        }
        self.machine.resize_console(size.columns, size.rows)?;
        super::calls::json_of(StatusCode::OK, &size)
    }

    fn console(&self) -> Result<Arc<ConsoleTap>, Problem> {
        Ok(self.machine.console().ok_or(Refusal::NoConsole)?)
    }
}

/// Types the whole body. A client that goes away has typed what came.
async fn type_all(writer: &mut TapWriter, mut body: Incoming) -> Result<(), Problem> {
    loop {
        let mut frame = pin!(body.frame());
        let next = poll_fn(|context| match frame.as_mut().poll(context) {
            // Another may take over meanwhile.
            Poll::Pending => writer.poll_write(context, &[]).map_ok(|_| None),
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
        });
        match next.await {
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    type_bytes(writer, &data).await?;
                }
            }
            Ok(Some(Err(_)) | None) | Err(TapLost::Closed) => return Ok(()),
            Err(lost) => return Err(Problem::taken(&lost.to_string())),
        }
    }
}

async fn type_bytes(writer: &mut TapWriter, mut bytes: &[u8]) -> Result<(), Problem> {
    while !bytes.is_empty() {
        match poll_fn(|context| writer.poll_write(context, bytes)).await {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(TapLost::Closed) => return Ok(()),
            Err(lost) => return Err(Problem::taken(&lost.to_string())),
        }
    }
    Ok(())
}

/// Passes the console's output on until there is no more, or nobody to take it.
async fn pass_on(
    mut reader: TapReader,
    sender: Sender<Bytes>,
    mut closed: watch::Receiver<bool>,
    room: OwnedSemaphorePermit,
) {
    let mut closing = pin!(closed.wait_for(|closed| *closed));
    let mut is_closing = false;
    loop {
        // First for any output at all, then for the rest of it.
        let is_there = {
            let mut gone = pin!(sender.closed());
            poll_fn(|context| {
                is_closing = is_closing || closing.as_mut().poll(context).is_ready();
                match reader.poll_waiting(context) {
                    Poll::Pending if is_closing => Poll::Ready(false),
                    Poll::Pending => gone.as_mut().poll(context).map(|()| false),
                    ready => ready,
                }
            })
            .await
        };
        if is_there && !is_closing && reader.waiting() < ENOUGH {
            tokio::time::sleep(LINGER).await;
        }
        let Some(read) = reader.read(PIECE).filter(|_| is_there) else {
            break;
        };
        let mut text = Vec::new();
        if read.missed > 0 {
            let missed = read.missed;
            text = format!("\r\n[{missed} bytes of output were lost here]\r\n").into_bytes();
        }
        text.extend_from_slice(&read.bytes);
        if sender.send(text.into()).await.is_err() {
            break;
        }
    }
    drop(room);
}

fn taken(taken: TapTaken) -> Problem {
    Problem::taken(&taken.to_string())
}

#[cfg(test)]
mod tests;
