//! The place of a device's output.

use std::fmt;
use std::sync::Arc;

use crate::{Console, ConsoleTap, OutputBuffer};

/// The end of a [`Console`] that a device pushes its output into.
#[derive(Clone, Default)]
pub struct ConsoleOutput {
    buffer: Option<Arc<OutputBuffer>>,
    tap: Option<Arc<ConsoleTap>>,
}

impl ConsoleOutput {
    /// That of `console`.
    pub fn of(console: &Console) -> Self {
        Self {
            buffer: console.output.clone(),
            tap: console.tap.clone(),
        }
    }

    /// Prints a byte, which the tap hears too; `false` where there is no room until the next flush.
    #[inline]
    pub fn push(&self, byte: u8) -> bool {
        let is_taken = self.buffer.as_ref().is_none_or(|buffer| buffer.push(byte));
        if is_taken && let Some(tap) = &self.tap {
            tap.push(byte);
        }
        is_taken
    }
}

impl fmt::Debug for ConsoleOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsoleOutput")
            .field("buffer", &self.buffer.is_some())
            .field("tap", &self.tap.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tap_hears_each_byte_once_where_the_buffer_is_full_too() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let console = Console {
            output: Some(Arc::new(OutputBuffer::new(writer.into()).unwrap())),
            tap: Some(Arc::new(ConsoleTap::new().unwrap())),
            ..Console::default()
        };
        let output = ConsoleOutput::of(&console);
        let taken = (0..100_000).take_while(|_| output.push(b'x')).count();
        assert!(taken < 100_000);
        assert_eq!(console.tap.unwrap().tail().len(), taken);
    }

    #[test]
    fn a_console_without_a_place_is_heard_all_the_same() {
        let console = Console {
            tap: Some(Arc::new(ConsoleTap::new().unwrap())),
            ..Console::default()
        };
        assert!(ConsoleOutput::of(&console).push(b'x'));
        assert_eq!(console.tap.unwrap().tail(), b"x");
        assert!(ConsoleOutput::of(&Console::default()).push(b'x'));
    }
}
