//! The one who types on a console.

use std::sync::Arc;
use std::task::{Context, Poll};

use thiserror::Error;

use super::ConsoleTap;

/// The one writer of a console's input, until it is dropped or another takes over.
#[derive(Debug)]
pub struct TapWriter {
    tap: Arc<ConsoleTap>,
    number: u64,
}

/// The reason why nobody else may type on a console now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TapTaken {
    /// There is a writer.
    #[error("another one types on this console")]
    ByWriter,
    /// The console's own input types, such as a terminal.
    #[error("this console has its own input")]
    ByOwnInput,
    /// Bytes that are typed here do not reach the console.
    #[error("nobody can type on this console from here")]
    NotRead,
}

/// The reason why a writer may type no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TapLost {
    /// Another writer has taken over.
    #[error("another one types on this console now")]
    TakenOver,
    /// The console is at its end.
    #[error("the console has ended")]
    Closed,
}

impl TapWriter {
    pub(super) fn new(tap: Arc<ConsoleTap>, takes_over: bool) -> Result<Self, TapTaken> {
        let (number, before) = tap.typing.lock().claim(takes_over)?;
        if let Some(before) = before {
            before.wake();
        }
        Ok(Self { tap, number })
    }

    /// Types `bytes` from the front, as far as there is room: how many of them. With none of them it is ready only
    /// when the writer may type no longer.
    ///
    /// # Errors
    /// [`TapLost`] when it may type no longer.
    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, TapLost>> {
        let mut typing = self.tap.typing.lock();
        if let Err(lost) = typing.check(self.number) {
            return Poll::Ready(Err(lost));
        }
        let count = typing.push(bytes);
        if count == 0 {
            typing.wait(context.waker());
            return Poll::Pending;
        }
        // Under the lock, or a reader that takes the bytes first would leave the event raised.
        self.tap.typed.notify();
        Poll::Ready(Ok(count))
    }
}

impl Drop for TapWriter {
    fn drop(&mut self) {
        self.tap.typing.lock().release(self.number);
    }
}
