//! Frames in a stream of bytes: each after its length, 32 bits, big-endian.

use std::io;

/// Bytes of the largest frame: an Ethernet header and 64 KiB.
pub const MAX_FRAME: usize = 14 + (64 << 10);

/// Bytes of the length.
const PREFIX: usize = 4;

/// Room for two of the largest frames.
const BUFFER: usize = 2 * (PREFIX + MAX_FRAME);

/// Finds frames in the bytes of a stream, in whatever pieces they come. It trusts no length.
#[derive(Debug)]
pub struct FrameReader {
    buffer: Box<[u8]>,
    /// The bytes that have come and are not behind.
    start: usize,
    end: usize,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameReader {
    /// A reader at the start of a stream.
    pub fn new() -> Self {
        Self {
            buffer: vec![0; BUFFER].into(),
            start: 0,
            end: 0,
        }
    }

    /// Where the next bytes of the stream go. Never empty while there is no
    /// [whole frame](Self::has_frame).
    pub fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// So many bytes have come into the [room](Self::room).
    pub fn filled(&mut self, length: usize) {
        self.end = self.end.saturating_add(length).min(self.buffer.len());
    }

    /// Whether a whole frame is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for a length above [`MAX_FRAME`]: the stream is of no use any
    /// more.
    pub fn has_frame(&self) -> io::Result<bool> {
        match self.next_length() {
            Some(length) if length > MAX_FRAME => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a frame of {length} bytes: at most {MAX_FRAME} may come"),
            )),
            Some(length) => Ok(self.end - self.start >= PREFIX + length),
            None => Ok(false),
        }
    }

    /// The next frame, which is then behind; empty where none is there.
    pub fn take_frame(&mut self) -> &[u8] {
        let (Ok(true), Some(length)) = (self.has_frame(), self.next_length()) else {
            return &[];
        };
        let start = self.start + PREFIX;
        self.start = start + length;
        self.buffer.get(start..self.start).unwrap_or_default()
    }

    fn next_length(&self) -> Option<usize> {
        let bytes = self.buffer.get(self.start..self.end)?;
        let prefix = bytes.first_chunk::<PREFIX>()?;
        usize::try_from(u32::from_be_bytes(*prefix)).ok()
    }
}

/// Bytes of whole frames that go out by one call. The host's kernel takes so many in one piece or
/// not at all (`unix_stream_sendmsg` of Linux: up to 48 KiB).
const GROUP: usize = 32 << 10;

/// Frames that wait to be sent.
#[derive(Debug)]
pub(super) struct FrameWriter {
    buffer: Box<[u8]>,
    start: usize,
    /// Where the first frame begins of which nothing was sent.
    whole: usize,
    end: usize,
}

impl FrameWriter {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; BUFFER].into(),
            start: 0,
            whole: 0,
            end: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The bytes that one call should send: the rest of a frame, and whole frames behind it. So a peer that
    /// reads what is there finds whole frames; passt (2023_03_09) loses its place in the stream where
    /// what it reads ends in a length.
    pub(super) fn bytes(&self) -> &[u8] {
        let mut end = self.whole;
        while let Some(next) = self.frame_end(end) {
            if next - self.start > GROUP && end > self.start {
                break;
            }
            end = next;
        }
        self.buffer.get(self.start..end).unwrap_or_default()
    }

    /// Where the frame ends that begins at `start`.
    fn frame_end(&self, start: usize) -> Option<usize> {
        let prefix = self.buffer.get(start..self.end)?.first_chunk::<PREFIX>()?;
        let length = usize::try_from(u32::from_be_bytes(*prefix)).ok()?;
        start.checked_add(PREFIX + length)
    }

    /// So many bytes were sent.
    pub(super) fn sent(&mut self, length: usize) {
        self.start = self.end.min(self.start + length);
        while self.whole < self.start {
            self.whole = self.frame_end(self.whole).unwrap_or(self.end);
        }
        if self.is_empty() {
            (self.start, self.whole, self.end) = (0, 0, 0);
        }
    }

    /// Whether a frame of `length` bytes fits behind what is there.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.buffer.len() - self.end >= PREFIX + length
    }

    /// Adds a frame; its bytes are to be filled in. `None` where there is no room.
    pub(super) fn frame(&mut self, length: usize) -> Option<&mut [u8]> {
        if !self.has_room(length) {
            self.buffer.copy_within(self.start..self.end, 0);
            self.whole -= self.start;
            (self.start, self.end) = (0, self.end - self.start);
        }
        let prefix = u32::try_from(length).ok()?;
        let end = self.end.checked_add(PREFIX + length)?;
        let place = self.buffer.get_mut(self.end..end)?;
        let (first, frame) = place.split_at_mut_checked(PREFIX)?;
        first.copy_from_slice(&prefix.to_be_bytes());
        self.end = end;
        Some(frame)
    }
}
