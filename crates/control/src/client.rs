//! The other end of the socket: a client that waits.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use crate::server::REPLAYED;
use crate::{Event, Problem};
use vmmkit_host_io::{Deadline, FdSocket};

mod console;

pub use console::{ConsoleInput, ConsoleOutput};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most bytes of a head.
const MAX_HEAD: u64 = 16 << 10;
/// The most bytes of an answer.
const MAX_BODY: u64 = 16 << 20;
/// The most lines of a head.
const MAX_HEADERS: usize = 32;

/// A client of one machine. Each request has a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    patience: Duration,
}

/// Why there is no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens.
    #[error("nobody answers at {}", socket.display())]
    Connect {
        /// Where.
        socket: PathBuf,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// The connection broke, or the answer took too long.
    #[error("the answer did not come")]
    Transfer(#[source] io::Error),
    /// The answer is not a machine's.
    #[error("the answer is not understood: {0}")]
    Protocol(String),
    /// The machine did not do it.
    #[error("{}", .0.message)]
    Refused(Problem),
}

impl Client {
    /// A client of the machine that listens at `socket`.
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            patience: PATIENCE,
        }
    }

    /// With another time that an answer may take.
    #[must_use]
    pub fn patient_for(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// GETs `path` as a `T`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        parsed(&self.text("GET", path, None)?)
    }

    /// POSTs to `path`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, ClientError> {
        parsed(&self.text("POST", path, body)?)
    }

    /// PUTs `body` to `path`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_value(body).map_err(not_understood)?;
        parsed(&self.text("PUT", path, Some(&body))?)
    }

    /// The answer to a request, as text.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn text(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<String, ClientError> {
        let mut answer = self.send(method, path, body)?;
        answer.stream.set_limit(MAX_BODY);
        Self::check(&mut answer)?;
        let mut text = String::new();
        let read = answer.stream.read_to_string(&mut text);
        read.map_err(ClientError::Transfer)?;
        Ok(text)
    }

    /// Whether the machine did it.
    fn check(answer: &mut AnswerHead) -> Result<(), ClientError> {
        match answer.status {
            200..300 => Ok(()),
            _ => Err(refused(answer)?),
        }
    }

    /// The machine's events from now on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn events(&self) -> Result<EventLines, ClientError> {
        let answer = self.send("GET", "/v1/events", None)?;
        if answer.status != 200 {
            return Err(ClientError::Protocol(format!("status {}", answer.status)));
        }
        // An event may come at any time, and a heartbeat comes every 15 s.
        Ok(EventLines(answer.stream))
    }

    fn connect(&self) -> Result<UnixStream, ClientError> {
        let socket = FdSocket::connect(&self.socket, &Deadline::after(self.patience));
        let stream = socket
            .map(FdSocket::into_stream)
            .map_err(|source| ClientError::Connect {
                socket: self.socket.clone(),
                source,
            })?;
        let limited = stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_read_timeout(Some(self.patience)))
            .and_then(|()| stream.set_write_timeout(Some(self.patience)));
        limited.map_err(ClientError::Transfer)?;
        Ok(stream)
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<AnswerHead, ClientError> {
        let mut stream = self.connect()?;
        // HTTP/1.0, so that an answer is one piece that ends with the connection (RFC 9112, 6.3).
        let mut request = format!("{method} {path} HTTP/1.0\r\nhost: localhost\r\n");
        if let Some(body) = body {
            let body = body.to_string();
            request += &format!(
                "content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
        } else {
            request += "\r\n";
        }
        // A server that refuses may close before it has read; its answer is there all the same.
        let written = stream.write_all(request.as_bytes());
        AnswerHead::read(stream).map_err(|error| match (written, error) {
            (Err(first), ClientError::Transfer(_)) => ClientError::Transfer(first),
            (_, error) => error,
        })
    }
}

/// An answer's bytes.
type Stream = BufReader<io::Take<UnixStream>>;

/// An answer whose body is still to be read.
struct AnswerHead {
    status: u16,
    /// Of a console's output.
    replayed: u64,
    stream: Stream,
}

/// The problem that an answer tells.
fn refused(answer: &mut AnswerHead) -> Result<ClientError, ClientError> {
    answer.stream.set_limit(MAX_BODY);
    let mut text = String::new();
    let read = answer.stream.read_to_string(&mut text);
    read.map_err(ClientError::Transfer)?;
    let mut problem: Problem = serde_json::from_str(&text)
        .map_err(|_| ClientError::Protocol(format!("status {}", answer.status)))?;
    problem.status = answer.status;
    Ok(ClientError::Refused(problem))
}

/// A reader whose limit can be changed.
trait SetLimit {
    fn set_limit(&mut self, bytes: u64);
}

impl SetLimit for Stream {
    fn set_limit(&mut self, bytes: u64) {
        self.get_mut().set_limit(bytes);
    }
}

impl AnswerHead {
    fn read(stream: UnixStream) -> Result<Self, ClientError> {
        let mut stream = BufReader::new(stream.take(MAX_HEAD));
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let read = stream.read_until(b'\n', &mut head);
            if read.map_err(ClientError::Transfer)? == 0 {
                let reason = match head.is_empty() {
                    true => "the connection was closed",
                    false => "it ends in its head",
                };
                return Err(ClientError::Protocol(reason.to_owned()));
            }
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Response::new(&mut headers);
        parsed.parse(&head).map_err(not_understood)?;
        let status = parsed.code.unwrap_or_default();
        let replayed = parsed.headers.iter().find(|header| header.name == REPLAYED);
        let replayed = replayed.and_then(|header| str::from_utf8(header.value).ok()?.parse().ok());
        stream.set_limit(u64::MAX);
        Ok(Self {
            status,
            replayed: replayed.unwrap_or_default(),
            stream,
        })
    }
}

/// Events as a client reads them.
#[derive(Debug)]
pub struct EventLines(Stream);

impl Iterator for EventLines {
    type Item = Result<Event, ClientError>;

    /// Waits for the next event; `None` at the end of the machine.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut line = String::new();
            match (&mut self.0).take(MAX_HEAD).read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(Err(ClientError::Transfer(error))),
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(parsed(data));
            }
        }
    }
}

fn parsed<T: DeserializeOwned>(text: &str) -> Result<T, ClientError> {
    serde_json::from_str(text).map_err(not_understood)
}

fn not_understood(error: impl std::fmt::Display) -> ClientError {
    ClientError::Protocol(error.to_string())
}
