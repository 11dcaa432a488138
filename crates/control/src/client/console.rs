//! A machine's console, as a client reads and types on it.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use super::{AnswerHead, Client, ClientError, MAX_BODY, SetLimit, Stream, refused};

/// The console's output: what was kept, and all that follows. Reading waits for it; 0 bytes are the end of the machine.
#[derive(Debug)]
pub struct ConsoleOutput {
    stream: Stream,
    replayed: u64,
}

/// The one client that types on a console, until it is dropped or another takes over.
#[derive(Debug)]
pub struct ConsoleInput {
    stream: UnixStream,
    /// Framed, and not written yet.
    pending: Vec<u8>,
    written: usize,
}

impl Client {
    /// The last 64 KiB that the guest has printed on its console.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn console_log(&self) -> Result<Vec<u8>, ClientError> {
        let mut answer = self.send("GET", "/v1/console/log", None)?;
        Self::check(&mut answer)?;
        answer.stream.set_limit(MAX_BODY);
        let mut bytes = Vec::new();
        let read = answer.stream.read_to_end(&mut bytes);
        read.map_err(ClientError::Transfer)?;
        Ok(bytes)
    }

    /// The console's output, that was kept and that follows.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn console_output(&self) -> Result<ConsoleOutput, ClientError> {
        let mut answer = self.send("GET", "/v1/console/output", None)?;
        Self::check(&mut answer)?;
        // A guest may be silent for as long as it likes.
        let stream = answer.stream.get_ref().get_ref();
        let patient = stream.set_read_timeout(None);
        patient.map_err(ClientError::Transfer)?;
        Ok(ConsoleOutput {
            stream: answer.stream,
            replayed: answer.replayed,
        })
    }

    /// Becomes the one who types on the console; with `takes_over`, in the place of the one who does.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Refused`] with the code `taken` where another one types.
    pub fn console_input(&self, takes_over: bool) -> Result<ConsoleInput, ClientError> {
        let method = if takes_over { "PUT" } else { "POST" };
        let mut stream = self.connect()?;
        // The head of the answer comes before the body (RFC 9110, 10.1.1).
        let head = format!(
            "{method} /v1/console/input HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             expect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        stream
            .write_all(head.as_bytes())
            .map_err(ClientError::Transfer)?;
        let mut answer = AnswerHead::read(stream)?;
        if answer.status != 100 {
            return Err(match refused(&mut answer) {
                Ok(error) | Err(error) => error,
            });
        }
        // Nothing comes behind that head as long as the typing goes on.
        let stream = answer.stream.into_inner().into_inner();
        let nonblocking = stream.set_nonblocking(true);
        nonblocking.map_err(ClientError::Transfer)?;
        Ok(ConsoleInput {
            stream,
            pending: Vec::new(),
            written: 0,
        })
    }
}

impl ConsoleOutput {
    /// How many bytes, the first ones, the guest had printed before.
    pub fn replayed(&self) -> u64 {
        self.replayed
    }

    /// Whether something was read ahead, which no poll of the descriptor tells.
    pub fn is_ready(&self) -> bool {
        !self.stream.buffer().is_empty()
    }
}

impl Read for ConsoleOutput {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.read(bytes)
    }
}

impl AsFd for ConsoleOutput {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.get_ref().get_ref().as_fd()
    }
}

impl ConsoleInput {
    /// Whether all was written; if not, it is to be [written on](Self::flush) when the descriptor has room.
    pub fn is_flushed(&self) -> bool {
        self.written == self.pending.len()
    }

    /// Types `bytes`, and writes as much as there is room for without waiting.
    ///
    /// # Errors
    /// The host's: the machine is gone, or another one types now.
    pub fn type_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !bytes.is_empty() {
            // A chunk (RFC 9112, 7.1).
            let _ = write!(self.pending, "{:x}\r\n", bytes.len());
            self.pending.extend_from_slice(bytes);
            self.pending.extend_from_slice(b"\r\n");
        }
        self.flush()
    }

    /// There is no more to type: the machine lets go of this writer once the guest has read.
    ///
    /// # Errors
    /// As of [`type_bytes`](Self::type_bytes).
    pub fn finish(&mut self) -> io::Result<()> {
        self.pending.extend_from_slice(b"0\r\n\r\n");
        self.flush()
    }

    /// Writes as much as there is room for.
    ///
    /// # Errors
    /// As of [`type_bytes`](Self::type_bytes).
    pub fn flush(&mut self) -> io::Result<()> {
        while let Some(rest) = self.pending.get(self.written..).filter(|it| !it.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.pending.clear();
        self.written = 0;
        Ok(())
    }

    /// Why the typing is over, which the descriptor tells by being readable: `None` where it ended as it should.
    pub fn end(self) -> Option<ClientError> {
        let timed = self.stream.set_nonblocking(false);
        if let Err(error) = timed {
            return Some(ClientError::Transfer(error));
        }
        match AnswerHead::read(self.stream) {
            Ok(answer) if (200..300).contains(&answer.status) => None,
            Ok(mut answer) => Some(match refused(&mut answer) {
                Ok(error) | Err(error) => error,
            }),
            Err(error) => Some(error),
        }
    }
}

impl AsFd for ConsoleInput {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
