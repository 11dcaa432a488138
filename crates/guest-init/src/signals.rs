//! Signals for the command: lines on the input of the port `STATUS`.

use std::io::{self, PipeWriter, Write};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use vmmkit_host_io::{FdInput, InputSource};

/// The longest line.
const LINE: u64 = 32;

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

/// Calls `act` with the number of each signal that comes in `input`, until it ends.
pub(crate) fn each(input: impl io::Read, mut act: impl FnMut(i32)) {
    let mut input = io::BufReader::new(input);
    loop {
        let mut line = String::new();
        let read = io::BufRead::read_line(&mut io::Read::take(&mut input, LINE), &mut line);
        if !matches!(read, Ok(1..)) {
            return;
        }
        let number = line.trim_end().strip_prefix("signal ");
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            act(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use vmmkit_host_io::InputRead;

    use super::*;

    #[test]
    fn a_signal_is_heard_as_it_is_sent_and_a_deaf_guest_holds_nobody_up() {
        let (signals, mut input) = Signals::new().unwrap();
        signals.send(2);
        signals.send(15);
        let mut bytes = [0; 64];
        let InputRead::Bytes(length) = input.read(&mut bytes).unwrap() else {
            panic!("there is no input");
        };
        let mut heard = Vec::new();
        each(&bytes[..length], |number| heard.push(number));
        assert_eq!(heard, [2, 15]);
        for _ in 0..20_000 {
            signals.send(1);
        }
    }

    #[test]
    fn other_lines_are_passed_over() {
        let long = "x".repeat(1000);
        let input = format!("\nsignal\nsignal x\n{long}\nsignal 9 \nsignal 1\nsignal 3");
        let mut heard = Vec::new();
        each(input.as_bytes(), |number| heard.push(number));
        assert_eq!(heard, [9, 1, 3]);
    }
}
