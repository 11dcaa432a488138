//! A console's host side: bytes out through a buffer, bytes in through an event loop.
//!
//! Output: vCPU threads push into the [`OutputBuffer`]; its timer or its fill level wakes the event
//! loop, which writes. Input: the loop reads no more than the device has room for, stops watching the
//! descriptor while there is none, and starts again when the device says there is room: no byte is
//! lost and nothing spins.

use std::fmt;
use std::io;
use std::sync::Arc;

use event_manager::MutEventSubscriber;

use crate::{InputSource, OutputBuffer};
use flusher::OutputFlusher;
use reader::InputReader;

mod flusher;
mod output;
mod port;
mod reader;
mod socket;
mod tap;

pub use output::ConsoleOutput;
pub use port::{ConsolePort, LostOutput};
pub use socket::ConsoleSocket;
pub use tap::{ConsoleTap, TapLost, TapRead, TapReader, TapTaken, TapWriter};

/// The two ends of a console.
#[derive(Default)]
pub struct Console {
    /// Where the guest's input comes from; `None` for no input. It is read on the event loop's thread.
    pub input: Option<Box<dyn InputSource>>,
    /// Where its output goes; `None` drops it.
    pub output: Option<Arc<OutputBuffer>>,
    /// Keeps the last of the output, also where `output` drops it. [`ConsoleTap::input`] makes an `input` of it.
    pub tap: Option<Arc<ConsoleTap>>,
    /// Called once, on the event loop's thread, when the guest's first output is about to be
    /// written.
    pub on_first_output: Option<Box<dyn FnOnce() + Send>>,
    /// Called once, on the event loop's thread, when output is lost for the first time.
    pub on_lost_output: Option<Box<dyn FnOnce(LostOutput) + Send>>,
}

impl Console {
    /// Connects both ends to `port`: what is to run on the event loop for them. The device itself
    /// pushes into [`output`](Self::output).
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub fn connect(
        self,
        port: &Arc<dyn ConsolePort>,
    ) -> io::Result<Vec<Box<dyn MutEventSubscriber + Send>>> {
        let mut subscribers: Vec<Box<dyn MutEventSubscriber + Send>> = Vec::new();
        if let Some(buffer) = self.output {
            subscribers.push(Box::new(OutputFlusher {
                buffer,
                port: port.clone(),
                on_first_output: self.on_first_output,
                on_lost_output: self.on_lost_output,
            }));
        }
        if let Some(input) = self.input {
            subscribers.push(Box::new(InputReader::new(input, port.clone())?));
        }
        Ok(subscribers)
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("input", &self.input.is_some())
            .field("output", &self.output.is_some())
            .field("tap", &self.tap.is_some())
            .finish()
    }
}
