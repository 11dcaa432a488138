//! Input with an end: frames of a length, two bytes, and so many bytes; one of length 0 is the end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use vmmkit_host_io::{InputRead, InputSource};

/// The most bytes of a frame.
const MAX: usize = 4096;

/// Input of the host as frames.
pub struct Frames {
    source: Box<dyn InputSource>,
    /// Made of what was read, and not taken yet.
    ready: Vec<u8>,
    taken: usize,
    has_ended: bool,
}

impl Frames {
    /// The frames of `source`.
    pub fn new(source: Box<dyn InputSource>) -> Self {
        Self {
            source,
            ready: Vec::new(),
            taken: 0,
            has_ended: false,
        }
    }

    /// Makes the next frame; `false` where there is nothing to make one of yet.
    fn refill(&mut self) -> bool {
        let mut bytes = [0; MAX];
        let length = match self.source.read(&mut bytes) {
            Ok(InputRead::NotReady) => return false,
            Ok(InputRead::Bytes(length)) => length.min(MAX),
            Ok(InputRead::End) | Err(_) => {
                self.has_ended = true;
                0
            }
        };
        self.ready.clear();
        self.taken = 0;
        // 4096 at most.
        self.ready.extend_from_slice(&(length as u16).to_le_bytes());
        self.ready
            .extend_from_slice(bytes.get(..length).unwrap_or_default());
        true
    }
}

impl AsFd for Frames {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl InputSource for Frames {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<InputRead> {
        if self.taken == self.ready.len() {
            if self.has_ended {
                return Ok(InputRead::End);
            }
            if !self.refill() {
                return Ok(InputRead::NotReady);
            }
        }
        let rest = self.ready.get(self.taken..).unwrap_or_default();
        let length = rest.len().min(bytes.len());
        for (place, byte) in bytes.iter_mut().zip(rest) {
            *place = *byte;
        }
        self.taken += length;
        Ok(InputRead::Bytes(length))
    }
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames")
            .field("ready", &(self.ready.len() - self.taken))
            .field("has_ended", &self.has_ended)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use vmmkit_host_io::FdInput;

    use super::*;

    /// Takes the frames of `input` apart, as the guest's program does, until one is the end.
    fn unpack(input: &mut impl io::Read, output: &mut impl io::Write) -> io::Result<()> {
        let mut bytes = [0; MAX];
        loop {
            let mut length = [0; 2];
            input.read_exact(&mut length)?;
            let length = usize::from(u16::from_le_bytes(length));
            let Some(frame) = bytes.get_mut(..length).filter(|_| length > 0) else {
                return Ok(());
            };
            input.read_exact(frame)?;
            output.write_all(frame)?;
        }
    }

    #[test]
    fn input_is_the_same_behind_frames_and_has_an_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let sent: Vec<u8> = (0..20_000_u32).map(|n| n as u8).collect();
        writer.write_all(&sent).unwrap();
        drop(writer);
        let mut frames = Frames::new(Box::new(FdInput::new(reader.into())));
        let mut framed = Vec::new();
        let mut bytes = [0; 7];
        while let InputRead::Bytes(length) = frames.read(&mut bytes).unwrap() {
            framed.extend_from_slice(&bytes[..length]);
        }
        let mut received = Vec::new();
        unpack(&mut framed.as_slice(), &mut received).unwrap();
        assert_eq!(received, sent);
        assert!(matches!(frames.read(&mut bytes), Ok(InputRead::End)));
        // Cut off, or longer than any: an error, and no more than was sent.
        assert!(unpack(&mut &framed[..9000], &mut Vec::new()).is_err());
        let mut none = Vec::new();
        let _ = unpack(&mut &b"\xff\xffxxxx"[..], &mut none);
        assert!(none.is_empty());
    }

    #[test]
    fn input_that_is_not_there_yet_is_waited_for() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut frames = Frames::new(Box::new(FdInput::new(reader.into())));
        let mut bytes = [0; 8];
        assert!(matches!(frames.read(&mut bytes), Ok(InputRead::NotReady)));
        writer.write_all(b"ab").unwrap();
        assert!(matches!(frames.read(&mut bytes), Ok(InputRead::Bytes(4))));
        assert_eq!(bytes[..4], *b"\x02\0ab");
    }
}
