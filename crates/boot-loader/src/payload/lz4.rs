//! The legacy frame of lz4, as `lz4 -l` writes it and Linux uses it: a magic, then blocks, each
//! with its compressed size in 4 bytes and at most 8 MiB of data.
//!
//! lz4_flex decodes a block only as a whole, which takes 8 MiB for the data and nearly as much
//! for its source. This decoder streams: 64 KiB of window and two buffers of as much, whatever the block.
//! lz4_flex is the reference it is tested against.

use std::io::{self, BufRead, Read};

use super::BUFFER_SIZE;

/// The magic, little-endian (lz4 frame format, "Legacy frame").
const MAGIC: u32 = 0x184c_2102;
/// How far back a match reaches (lz4 block format, "offset").
const WINDOW: usize = 64 << 10;
/// The most a block of the legacy frame decompresses to.
const BLOCK_MAX: u64 = 8 << 20;
/// The most compressed bytes of such a block (lz4's own bound for 8 MiB).
const COMPRESSED_MAX: u32 = (8 << 20) + (8 << 20) / 255 + 16;
/// The shortest match (lz4 block format).
const MIN_MATCH: u64 = 4;
/// Bytes that the fast path may read past a sequence's start: token, 16 literals, offset.
const INPUT_MARGIN: usize = 1 + 16 + 2;
/// Bytes that the fast path may write past the output's end: 16 literals, 32 of a match.
const OUTPUT_MARGIN: usize = 16 + 32;

/// A reader of the bytes in a legacy frame.
pub(super) struct LegacyFrame<R> {
    reader: R,
    /// Compressed bytes: `input[taken..filled]` are not decoded yet.
    input: Box<[u8]>,
    taken: usize,
    filled: usize,
    /// Compressed bytes of the current block that are not in `input` yet.
    block_left: u64,
    /// Bytes that the current block may still decompress to.
    room: u64,
    state: State,
    /// The window, then decoded bytes: `output[given..decoded]` are not consumed yet.
    output: Box<[u8]>,
    given: usize,
    decoded: usize,
    /// Bytes before `decoded` that belong to this block: no match reaches further back.
    history: usize,
}

/// Where in a block the decoder is (lz4 block format, "Compressed block format").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between blocks.
    Block,
    /// At a sequence's token.
    Token,
    /// `left` literals are to be copied; then the offset, with the token's low nibble.
    Literals { left: u64, nibble: u8 },
    /// `left` bytes from `offset` back are to be copied.
    Match { left: u64, offset: usize },
    /// After the last block.
    End,
}

impl<R: Read> LegacyFrame<R> {
    /// Reads the frame's magic.
    pub(super) fn new(mut reader: R) -> io::Result<Self> {
        let mut magic = [0; 4];
        reader.read_exact(&mut magic)?;
        if u32::from_le_bytes(magic) != MAGIC {
            return Err(invalid("no legacy frame magic (0x184c2102)"));
        }
        Ok(Self {
            reader,
            input: vec![0; BUFFER_SIZE].into(),
            taken: 0,
            filled: 0,
            block_left: 0,
            room: 0,
            state: State::Block,
            output: vec![0; WINDOW + BUFFER_SIZE].into(),
            given: 0,
            decoded: 0,
            history: 0,
        })
    }

    /// Decodes until the output is nearly full or the frame ends. All output is consumed.
    fn decode(&mut self) -> io::Result<()> {
        self.slide();
        let full = self.output.len() - OUTPUT_MARGIN;
        while self.decoded < full {
            match self.state {
                State::End => break,
                State::Block if self.given < self.decoded => break,
                State::Block => self.begin_block()?,
                State::Token => self.token()?,
                State::Literals { left, nibble } => self.literals(left, nibble)?,
                State::Match { left, offset } => self.matched(left, offset)?,
            }
        }
        Ok(())
    }

    /// Keeps the window of what was decoded, at the front.
    fn slide(&mut self) {
        if let Some(surplus) = self.decoded.checked_sub(WINDOW) {
            self.output.copy_within(surplus..self.decoded, 0);
            self.decoded = WINDOW;
        }
        self.given = self.decoded;
    }

    fn begin_block(&mut self) -> io::Result<()> {
        let mut size = [0; 4];
        let Some(first) = read_first(&mut self.reader)? else {
            self.state = State::End;
            return Ok(());
        };
        let (head, tail) = size.split_at_mut(1);
        head.fill(first);
        self.reader.read_exact(tail)?;
        let size = u32::from_le_bytes(size);
        if size == MAGIC {
            return Ok(()); // frames may be concatenated
        }
        if size == 0 || size > COMPRESSED_MAX {
            return Err(invalid(&format!(
                "block size {size:#x} is not 1 to {COMPRESSED_MAX:#x}"
            )));
        }
        (self.taken, self.filled, self.history) = (0, 0, 0);
        self.block_left = size.into();
        self.room = BLOCK_MAX;
        self.state = State::Token;
        Ok(())
    }

    fn token(&mut self) -> io::Result<()> {
        self.refill()?;
        self.fast_sequences()?;
        let token = self.byte()?;
        let mut literals = u64::from(token >> 4);
        if literals == 15 {
            literals += self.length()?;
        }
        self.state = State::Literals {
            left: literals,
            nibble: token & 15,
        };
        Ok(())
    }

    /// Whole sequences of short literals and short matches, while both buffers have a margin.
    fn fast_sequences(&mut self) -> io::Result<()> {
        let (mut taken, mut decoded) = (self.taken, self.decoded);
        let (start, begun) = (decoded, decoded.saturating_sub(self.history));
        let input = self.input.get(..self.filled).unwrap_or_default();
        let output = &mut self.output[..];
        let end = output.len() - OUTPUT_MARGIN;
        while let Some([token, rest @ ..]) = window::<INPUT_MARGIN>(input, taken) {
            let (literals, nibble) = (usize::from(token >> 4), usize::from(token & 15));
            if literals == 15 || nibble == 15 || decoded >= end {
                break;
            }
            let (Some(from), Some(to)) = (rest.first_chunk::<16>(), output.get_mut(decoded..))
            else {
                break;
            };
            let Some(to) = to.first_chunk_mut::<16>() else {
                break;
            };
            *to = *from;
            let Some([low, high]) = window::<2>(&rest[..], literals) else {
                break;
            };
            let offset = usize::from(u16::from_le_bytes([*low, *high]));
            let at = decoded + literals;
            if offset == 0 || offset > at - begun {
                return Err(bad_offset(offset, at - begun));
            }
            let (source, length) = (at - offset, nibble + MIN_MATCH as usize);
            if offset >= 18 {
                output.copy_within(source..source + 18, at);
            } else {
                repeat(output, source, at, length);
            }
            decoded = at + length;
            taken += 1 + literals + 2;
        }
        self.taken = taken;
        self.advance_output(decoded - start)
    }

    /// Copies what there is room for of a run of literals, then reads the match that follows.
    fn literals(&mut self, mut left: u64, nibble: u8) -> io::Result<()> {
        while left > 0 {
            self.refill()?;
            let available = self.input.get(self.taken..self.filled).unwrap_or_default();
            let room = self.output.get_mut(self.decoded..).unwrap_or_default();
            let count = available
                .len()
                .min(room.len())
                .min(usize::try_from(left).unwrap_or(0));
            if available.is_empty() {
                return Err(cut_short());
            }
            if count == 0 {
                self.state = State::Literals { left, nibble };
                return Ok(());
            }
            if let (Some(to), Some(from)) = (room.get_mut(..count), available.get(..count)) {
                to.copy_from_slice(from);
            }
            self.taken += count;
            left -= count as u64;
            self.advance_output(count)?;
        }
        self.refill()?;
        if self.taken == self.filled && self.block_left == 0 {
            self.state = State::Block; // a block ends after literals
            return Ok(());
        }
        let offset = usize::from(u16::from_le_bytes([self.byte()?, self.byte()?]));
        if offset == 0 || offset > self.history {
            return Err(bad_offset(offset, self.history));
        }
        let mut left = u64::from(nibble) + MIN_MATCH;
        if nibble == 15 {
            left += self.length()?;
        }
        self.state = State::Match { left, offset };
        Ok(())
    }

    /// Copies what there is room for of a match.
    fn matched(&mut self, left: u64, offset: usize) -> io::Result<()> {
        let room = self.output.len() - self.decoded;
        let count = room.min(usize::try_from(left).unwrap_or(0));
        let source = self.decoded - offset.min(self.decoded);
        if offset >= count {
            self.output
                .copy_within(source..source + count, self.decoded);
        } else {
            repeat(&mut self.output, source, self.decoded, count);
        }
        let left = left - count as u64;
        self.state = if left == 0 {
            State::Token
        } else {
            State::Match { left, offset }
        };
        self.advance_output(count)
    }

    /// Accounts for `count` decoded bytes.
    fn advance_output(&mut self, count: usize) -> io::Result<()> {
        self.decoded += count;
        self.history = (self.history + count).min(WINDOW);
        self.room = self
            .room
            .checked_sub(count as u64)
            .ok_or_else(|| invalid("a block decompresses to more than the legacy frame's 8 MiB"))?;
        Ok(())
    }

    /// Makes sure that a sequence's header is in `input`, or all that the block has left.
    fn refill(&mut self) -> io::Result<()> {
        if self.filled - self.taken >= INPUT_MARGIN || self.block_left == 0 {
            return Ok(());
        }
        self.input.copy_within(self.taken..self.filled, 0);
        self.filled -= self.taken;
        self.taken = 0;
        let space = self.input.get_mut(self.filled..).unwrap_or_default();
        let count = space
            .len()
            .min(usize::try_from(self.block_left).unwrap_or(usize::MAX));
        let space = space.get_mut(..count).unwrap_or_default();
        self.reader.read_exact(space)?;
        self.filled += count;
        self.block_left -= count as u64;
        Ok(())
    }

    fn byte(&mut self) -> io::Result<u8> {
        if self.taken == self.filled {
            self.refill()?;
        }
        let byte = self
            .input
            .get(..self.filled)
            .and_then(|input| input.get(self.taken));
        self.taken += 1;
        byte.copied().ok_or_else(cut_short)
    }

    /// The rest of a length that does not fit its nibble.
    fn length(&mut self) -> io::Result<u64> {
        let mut sum = 0_u64;
        loop {
            let byte = self.byte()?;
            sum += u64::from(byte);
            if byte != 255 {
                return Ok(sum);
            }
        }
    }
}

impl<R: Read> BufRead for LegacyFrame<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.given == self.decoded && self.state != State::End {
            self.decode()?;
        }
        Ok(self
            .output
            .get(self.given..self.decoded)
            .unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.given = self.given.saturating_add(count).min(self.decoded);
    }
}

impl<R: Read> Read for LegacyFrame<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(bytes)?;
        self.consume(count);
        Ok(count)
    }
}

/// The `N` bytes at `at`, where they are all there.
fn window<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>()
}

/// Repeats the bytes from `source` to `at` until `count` bytes are written: an overlapping match.
fn repeat(bytes: &mut [u8], source: usize, at: usize, count: usize) {
    let mut done = 0;
    while done < count {
        // What was written extends the pattern, so each step doubles.
        let step = (at + done - source).min(count - done);
        bytes.copy_within(source..source + step, at + done);
        done += step;
    }
}

/// The first byte of what follows, or `None` at the end.
fn read_first(reader: &mut impl Read) -> io::Result<Option<u8>> {
    let mut byte = [0];
    loop {
        match reader.read(&mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(byte.first().copied()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("damaged lz4 data: {reason}"),
    )
}

fn cut_short() -> io::Error {
    invalid("a block ends inside a sequence")
}

fn bad_offset(offset: usize, history: usize) -> io::Error {
    invalid(&format!(
        "a match starts {offset} bytes back, and {history} are there"
    ))
}

#[cfg(test)]
mod tests;
