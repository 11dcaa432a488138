//! The device at a console's end, and the loss of its output.

use std::io;

/// The device that a console's bytes go to and come from: a UART, for one. Several threads call it
/// at once.
pub trait ConsolePort: Send + Sync {
    /// How many bytes [`receive`](Self::receive) would take now. After 0, the callback will tell.
    fn room(&self) -> usize;

    /// Hands over what was typed; returns how many bytes, from the front, the device took. After
    /// fewer than all, the callback will tell.
    fn receive(&self, bytes: &[u8]) -> usize;

    /// Calls `tell`, on any thread, whenever a caller that was refused should try again.
    fn on_room(&self, tell: Box<dyn Fn() + Send + Sync>);

    /// The output buffer has room again: sends what waited.
    fn output_ready(&self);
}

/// Why a console's output is lost. The guest goes on all the same.
#[derive(Debug)]
#[non_exhaustive]
pub enum LostOutput {
    /// Nobody reads it any more, and never will: all that comes is dropped.
    NoReader,
    /// Nobody reads it now: but for the last 64 KiB it is dropped until somebody does
    /// ([`OutputBuffer::with_patience`](crate::OutputBuffer::with_patience)).
    NotRead,
    /// It could not be written: a full disk, for one. What comes is tried again.
    Failed(io::Error),
}
