//! The console's input where it is not a terminal: a pipe, socket or file with its end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use vmmkit_host_io::{InputRead, InputSource, TimerFd, read_ready};

/// Ctrl-D: what a terminal takes for the end of its input (EOT).
pub(crate) const END_OF_INPUT: u8 = 0x04;

/// A pipe, socket or file, shared as it may be with other processes. The guest is told of its end by Ctrl-D.
#[derive(Debug)]
pub struct StreamInput {
    fd: OwnedFd,
    /// The Ctrl-Ds that the guest has not been sent.
    ends: u8,
    line_is_open: bool,
    /// Fires when the stream has ended and the guest was told once; more Ctrl-Ds come then.
    end: Arc<TimerFd>,
}

impl StreamInput {
    /// Input from `fd`; `end` fires when it has ended and the guest was told once.
    pub fn new(fd: OwnedFd, end: Arc<TimerFd>) -> Self {
        Self {
            fd,
            ends: 1,
            line_is_open: false,
            end,
        }
    }
}

impl AsFd for StreamInput {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl InputSource for StreamInput {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<InputRead> {
        let read = read_ready(self.fd.as_fd(), bytes)?;
        match read {
            InputRead::NotReady => {}
            InputRead::Bytes(length) => {
                let last = bytes.get(..length).and_then(<[u8]>::last);
                self.line_is_open = last != Some(&b'\n');
                // In the middle of a line the first Ctrl-D only ends the line (termios(3), VEOF).
                self.ends = if self.line_is_open { 2 } else { 1 };
            }
            InputRead::End if self.ends > 0 => {
                self.ends -= 1;
                if let Some(first) = bytes.first_mut() {
                    *first = END_OF_INPUT;
                }
                return Ok(InputRead::Bytes(1));
            }
            InputRead::End => self.end.arm_once(Duration::ZERO),
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Everything that a guest reads from a pipe with this text.
    fn all_of(text: &str) -> Vec<u8> {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(text.as_bytes()).unwrap();
        drop(writer);
        let mut input = StreamInput::new(reader.into(), Arc::new(TimerFd::new().unwrap()));
        let (mut all, mut bytes) = (Vec::new(), [0; 4]);
        loop {
            match input.read(&mut bytes).unwrap() {
                InputRead::Bytes(length) => all.extend_from_slice(&bytes[..length]),
                InputRead::End => return all,
                // A child of another test has the writer too until its exec.
                InputRead::NotReady => std::thread::yield_now(),
            }
        }
    }

    #[test]
    fn the_end_of_a_pipe_is_ctrl_d() {
        assert_eq!(all_of("uname -a\n"), b"uname -a\n\x04");
        assert_eq!(all_of(""), b"\x04");
    }

    #[test]
    fn an_open_line_takes_two() {
        assert_eq!(all_of("uname"), b"uname\x04\x04");
    }
}
