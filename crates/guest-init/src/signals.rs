//! Signals for the command: lines on the input of the port `STATUS`.

use std::io::{self, PipeWriter, Write};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use vmmkit_host_io::{FdInput, InputSource};

/// The host's end: passes signals on to the guest's command.
#[derive(Debug)]
pub struct Signals(PipeWriter);

impl Signals {
    /// The sender, and the input of the port [`STATUS`](crate::STATUS).
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub fn new() -> io::Result<(Self, Box<dyn InputSource>)> {
        let (reader, writer) = io::pipe()?;
        let flags = fcntl_getfl(&writer)? | OFlags::NONBLOCK;
        fcntl_setfl(&writer, flags)?;
        Ok((Self(writer), Box::new(FdInput::new(reader.into()))))
    }

    /// Sends the signal `number` (signal(7)) to the command, all processes of its group. A guest that has not started it
    /// yet does so then. Never waits; what a guest does not take is dropped.
    pub fn send(&self, number: i32) {
        let line = format!("signal {number}\n");
        // A full pipe: the guest has not taken thousands of them.
        let _ = (&self.0).write_all(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use vmmkit_host_io::InputRead;

    use super::*;
    use crate::wire::signal;

    #[test]
    fn a_signal_is_heard_as_it_is_sent_and_a_deaf_guest_holds_nobody_up() {
        let (signals, mut input) = Signals::new().unwrap();
        signals.send(2);
        signals.send(15);
        let mut bytes = [0; 64];
        let InputRead::Bytes(length) = input.read(&mut bytes).unwrap() else {
            panic!("there is no input");
        };
        assert_eq!(bytes[..length], *b"signal 2\nsignal 15\n");
        let lines = bytes[..length - 1].split(|byte| *byte == b'\n');
        assert!(lines.map(signal).eq([Some(2), Some(15)]));
        for _ in 0..20_000 {
            signals.send(1);
        }
    }
}
