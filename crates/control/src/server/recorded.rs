//! A client in memory: all of its bytes are there, and what it gets is kept.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use parking_lot::Mutex;

/// The stream as the server has it.
pub(super) struct Recorded {
    bytes: Vec<u8>,
    read: usize,
    answer: Answer,
}

/// Bytes the server has written.
#[derive(Clone, Default)]
pub(super) struct Answer(Arc<Mutex<Vec<u8>>>);

impl Recorded {
    /// A client that sends `bytes` and then closes its half; and what it will have got.
    pub(super) fn new(bytes: &[u8]) -> (Self, Answer) {
        let answer = Answer::default();
        let recorded = Self {
            bytes: bytes.to_vec(),
            read: 0,
            answer: answer.clone(),
        };
        (recorded, answer)
    }
}

impl Answer {
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Read for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.bytes.get(self.read..).unwrap_or_default();
        let length = left.len().min(buffer.remaining());
        buffer.put_slice(left.get(..length).unwrap_or_default());
        self.read += length;
        Poll::Ready(Ok(()))
    }
}

impl Write for Recorded {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut answer = self.answer.0.lock();
        answer.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
