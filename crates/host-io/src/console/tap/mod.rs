//! A tap on a guest's console: its last output, a stream of it for any number of readers, and one more place
//! to type on it.
//!
//! ```text
//! device --push--> record (64 KiB) --> TapReader, TapReader, ...
//! device <--------- TapInput <-------- the console's own input
//!                      \<-- queue (64 KiB) <-- TapWriter: one at a time
//! ```

use std::io;
use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;

use crate::{EventFd, InputRead, InputSource};
use record::Record;
use typing::Typing;

mod input;
mod reader;
mod record;
#[cfg(test)]
mod tests;
mod typing;
mod writer;

use input::TapInput;
pub use reader::{TapRead, TapReader};
pub use writer::{TapLost, TapTaken, TapWriter};

/// A tap on one console. Whoever passes the guest's output on [pushes](Self::push) each byte here too, and reads
/// its input from [`input`](Self::input).
///
/// Nothing here waits for a reader: one that is slow misses output, and is told how much. Memory is bounded: 64 KiB
/// of output, however many read it, and 64 KiB of input. Readers and the writer wait as futures do, by a
/// [`Waker`]; any thread may be at either end.
///
/// ```
/// use std::sync::Arc;
/// use vmmkit_host_io::ConsoleTap;
///
/// let tap = Arc::new(ConsoleTap::new()?);
/// tap.append(b"login: ");
/// assert_eq!(tap.tail(), b"login: ");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct ConsoleTap {
    record: Mutex<Record>,
    typing: Mutex<Typing>,
    /// Readable while something that was typed waits for the guest.
    typed: EventFd,
}

impl ConsoleTap {
    /// The bytes of output that are kept.
    pub const KEPT: usize = 64 << 10;
    /// The bytes of input that wait for the guest.
    pub const TYPED: usize = 64 << 10;

    /// A tap on a console that has printed nothing.
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            record: Mutex::default(),
            typing: Mutex::default(),
            typed: EventFd::new()?,
        })
    }

    /// The guest has printed `byte`.
    #[inline]
    pub fn push(&self, byte: u8) {
        self.append(&[byte]);
    }

    /// The guest has printed `bytes`.
    pub fn append(&self, bytes: &[u8]) {
        let waiting = {
            let mut record = self.record.lock();
            record.append(bytes);
            record.take_waiting()
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The last output, up to [`KEPT`](Self::KEPT) bytes.
    pub fn tail(&self) -> Vec<u8> {
        self.record.lock().tail()
    }

    /// There will be no more output: readers get what is left, and writers are [told](TapLost::Closed).
    pub fn close(&self) {
        let waiting = {
            let mut record = self.record.lock();
            record.is_closed = true;
            record.take_waiting()
        };
        let writer = self.typing.lock().close();
        waiting.into_iter().chain(writer).for_each(Waker::wake);
    }

    /// A reader of the output that is kept, and of all that follows.
    pub fn reader(self: &Arc<Self>) -> TapReader {
        TapReader::new(self.clone())
    }

    /// The console's input: that from `own`, and what a writer types besides. It never ends. With `types`, `own`
    /// counts as a writer until its end: another one has to take over from it, though both are heard then.
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub fn input(
        self: &Arc<Self>,
        own: Option<Box<dyn InputSource>>,
        types: bool,
    ) -> io::Result<Box<dyn InputSource>> {
        Ok(Box::new(TapInput::new(self.clone(), own, types)?))
    }

    /// Becomes the writer; with `takes_over`, in the place of the one there is.
    ///
    /// # Errors
    /// [`TapTaken`] where there is one.
    pub fn writer(self: &Arc<Self>, takes_over: bool) -> Result<TapWriter, TapTaken> {
        TapWriter::new(self.clone(), takes_over)
    }

    /// Takes what was typed. With `stays_raised` the event is left as it is: there is more to read elsewhere.
    fn pop(&self, bytes: &mut [u8], stays_raised: bool) -> InputRead {
        let mut typing = self.typing.lock();
        let count = typing.pop(bytes);
        if typing.is_empty() && !stays_raised {
            self.typed.drain();
        }
        let writer = match count {
            0 => None,
            _ => typing.take_waiting(),
        };
        drop(typing);
        if let Some(writer) = writer {
            writer.wake();
        }
        match count {
            0 => InputRead::NotReady,
            count => InputRead::Bytes(count),
        }
    }
}
