//! Messages, one by one.

use std::io::{self, Read, Write};

use super::{MAGIC, MAX_MANIFEST, MAX_PAGES, MAX_REASON, MAX_STATE, PAGE, StreamError, VERSION};
use crate::crc32c::checksum;

/// Bytes of a message before its contents.
const HEADER: usize = 12;
/// Bytes of contents that are written with the header.
const SHORT: usize = 16 << 10;
/// Bytes of the contents of pages before the pages.
pub(super) const NUMBER: usize = 8;
/// The flag of a state: the guest runs.
pub(super) const RUNS: u16 = 1;

pub(super) const MANIFEST: u16 = 1;
pub(super) const PAGES: u16 = 2;
pub(super) const ZEROS: u16 = 3;
pub(super) const ROUND: u16 = 4;
pub(super) const STATE: u16 = 5;
pub(super) const COMMIT: u16 = 6;
pub(super) const ACCEPTED: u16 = 17;
pub(super) const RECEIVED: u16 = 18;
pub(super) const READY: u16 = 19;
pub(super) const RUNNING: u16 = 20;
pub(super) const REFUSED: u16 = 21;

/// The least and the most bytes of the contents of a kind; `None` for one that is not known.
fn bounds(kind: u16) -> Option<(usize, usize)> {
    Some(match kind {
        MANIFEST => (NUMBER, NUMBER + MAX_MANIFEST),
        PAGES => (NUMBER + PAGE, NUMBER + MAX_PAGES * PAGE),
        ZEROS => (16, 16),
        STATE => (0, MAX_STATE),
        REFUSED => (0, MAX_REASON),
        ROUND | COMMIT | ACCEPTED | RECEIVED | READY | RUNNING => (0, 0),
        _ => return None,
    })
}

/// Bytes of the contents that the checksum is of.
fn summed(kind: u16, contents: &[u8]) -> &[u8] {
    match kind {
        PAGES => contents.get(..NUMBER).unwrap_or(contents),
        _ => contents,
    }
}

fn sum(start: &[u8], kind: u16, contents: &[u8]) -> u32 {
    checksum(&[start, summed(kind, contents)].concat())
}

/// Writes the first bytes of this side.
pub(super) fn write_start(stream: &mut impl Write) -> Result<(), StreamError> {
    let start = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
    stream.write_all(&start)?;
    Ok(stream.flush()?)
}

/// Reads those of the other side.
pub(super) fn read_start(stream: &mut impl Read) -> Result<(), StreamError> {
    let mut magic = [0; 8];
    stream.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(StreamError::Magic);
    }
    let mut version = [0; 4];
    stream.read_exact(&mut version)?;
    match u32::from_le_bytes(version) {
        VERSION => Ok(()),
        other => Err(StreamError::Version(other)),
    }
}

/// Writes a message: a short one at once.
pub(super) fn write(
    stream: &mut impl Write,
    kind: u16,
    flags: u16,
    contents: &[&[u8]],
) -> Result<(), StreamError> {
    let length: usize = contents.iter().map(|part| part.len()).sum();
    let mut start = Vec::with_capacity(HEADER);
    start.extend(kind.to_le_bytes());
    start.extend(flags.to_le_bytes());
    // Bounded by whoever calls.
    start.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    let sum = match kind {
        PAGES => sum(&start, kind, contents.first().copied().unwrap_or_default()),
        _ => sum(&start, kind, &contents.concat()),
    };
    start.extend(sum.to_le_bytes());
    if length <= SHORT {
        contents.iter().for_each(|part| start.extend(*part));
        stream.write_all(&start)?;
    } else {
        stream.write_all(&start)?;
        for part in contents {
            stream.write_all(part)?;
        }
    }
    Ok(stream.flush()?)
}

/// A message that was read; its contents are in the buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) kind: u16,
    pub(super) flags: u16,
}

/// Reads a message of one of `kinds` into `contents`, which grows no faster than bytes arrive.
pub(super) fn read(
    stream: &mut impl Read,
    kinds: &[u16],
    expected: &'static str,
    contents: &mut Vec<u8>,
) -> Result<Head, StreamError> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header)?;
    let [k0, k1, f0, f1, l0, l1, l2, l3, c0, c1, c2, c3] = header;
    let (kind, flags) = (u16::from_le_bytes([k0, k1]), u16::from_le_bytes([f0, f1]));
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    if !kinds.contains(&kind) {
        return Err(StreamError::Unexpected { kind, expected });
    }
    let size = usize::try_from(length).unwrap_or(usize::MAX);
    let is_possible = bounds(kind).is_some_and(|(least, most)| (least..=most).contains(&size));
    if !is_possible {
        return Err(StreamError::Length { kind, length });
    }
    contents.clear();
    let read = stream.take(u64::from(length)).read_to_end(contents)?;
    if read != size {
        return Err(StreamError::Closed);
    }
    let start = header.get(..8).unwrap_or_default();
    let allowed = if kind == STATE { RUNS } else { 0 };
    if sum(start, kind, contents) != u32::from_le_bytes([c0, c1, c2, c3]) || flags & !allowed != 0 {
        return Err(StreamError::Damaged(kind));
    }
    Ok(Head { kind, flags })
}

/// Reads the target's answer: `kind`, or that it refuses.
pub(super) fn read_answer(
    stream: &mut impl Read,
    kind: u16,
    expected: &'static str,
) -> Result<(), StreamError> {
    let mut contents = Vec::new();
    let head = read(stream, &[kind, REFUSED], expected, &mut contents)?;
    match head.kind {
        REFUSED => Err(StreamError::Refused(shown(&contents))),
        _ => Ok(()),
    }
}

/// Tells why the machine is not taken. The other side may be gone.
pub(super) fn refuse(stream: &mut impl Write, reason: &str) -> Result<(), StreamError> {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = reason.get(..end).unwrap_or_default();
    write(stream, REFUSED, 0, &[reason.as_bytes()])
}

/// A stranger's text as a line of a message.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().map(plain).collect()
}

/// The two numbers that contents begin with; the second is 0 where there is none.
pub(super) fn numbers(contents: &[u8]) -> (u64, u64) {
    let (words, _) = contents.as_chunks::<8>();
    let word = |place: usize| words.get(place).map_or(0, |word| u64::from_le_bytes(*word));
    (word(0), word(1))
}

/// How many whole pages `bytes` are.
pub(super) fn pages_of(bytes: &[u8]) -> io::Result<u64> {
    match bytes.len().is_multiple_of(PAGE) && !bytes.is_empty() {
        true => Ok((bytes.len() / PAGE) as u64),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not whole pages",
        )),
    }
}
