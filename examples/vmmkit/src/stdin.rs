//! The console's input where it is no terminal: a pipe or file with its end, or a line of hardware.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use vmmkit_host_io::{InputRead, TimerFd, read_ready};
use vmmkit_vmm::{ConsoleInput, ConsoleRead};

/// Ctrl-D: what a terminal takes for the end of its input (EOT).
pub(crate) const END_OF_INPUT: u8 = 0x04;

/// Input from a descriptor, shared as it may be with other processes.
#[derive(Debug)]
pub(crate) struct FdInput {
    fd: OwnedFd,
    source: Source,
}

/// What stands behind the descriptor.
#[derive(Debug)]
pub(crate) enum Source {
    /// A pipe, socket or file: the guest is told of its end by so many Ctrl-Ds as are left, and
    /// by more of them once the timer was armed.
    Stream {
        ends: u8,
        line_is_open: bool,
        end: Arc<TimerFd>,
    },
    /// A line of hardware: only bytes.
    Device,
}

impl Source {
    /// A pipe, socket or file; `end` fires when it has ended and the guest was told once.
    pub(crate) fn stream(end: Arc<TimerFd>) -> Self {
        Self::Stream {
            ends: 1,
            line_is_open: false,
            end,
        }
    }

    /// A line of hardware.
    pub(crate) fn device() -> Self {
        Self::Device
    }
}

impl FdInput {
    /// Input from `fd`.
    pub(crate) fn new(fd: OwnedFd, source: Source) -> Self {
        Self { fd, source }
    }
}

impl AsFd for FdInput {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl ConsoleInput for FdInput {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<ConsoleRead> {
        let read = read_ready(self.fd.as_fd(), bytes)?;
        Ok(match (read, &mut self.source) {
            (InputRead::NotReady, _) => ConsoleRead::NotReady,
            (
                InputRead::Bytes(length),
                Source::Stream {
                    ends, line_is_open, ..
                },
            ) => {
                *line_is_open = bytes.get(..length).and_then(<[u8]>::last) != Some(&b'\n');
                // In the middle of a line the first Ctrl-D only ends the line (termios(3), VEOF).
                *ends = if *line_is_open { 2 } else { 1 };
                ConsoleRead::Bytes(length)
            }
            (InputRead::Bytes(length), Source::Device) => ConsoleRead::Bytes(length),
            (InputRead::End, Source::Stream { ends, .. }) if *ends > 0 => {
                *ends -= 1;
                if let Some(first) = bytes.first_mut() {
                    *first = END_OF_INPUT;
                }
                ConsoleRead::Bytes(1)
            }
            (InputRead::End, Source::Stream { end, .. }) => {
                end.arm_once(Duration::ZERO);
                ConsoleRead::End
            }
            (InputRead::End, _) => ConsoleRead::End,
        })
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
        let mut input = FdInput::new(
            reader.into(),
            Source::stream(Arc::new(TimerFd::new().unwrap())),
        );
        let (mut all, mut bytes) = (Vec::new(), [0; 4]);
        while let ConsoleRead::Bytes(length) = input.read(&mut bytes).unwrap() {
            all.extend_from_slice(&bytes[..length]);
        }
        all
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
