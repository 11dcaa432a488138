//! Long streams that need not be kept: made on the way out, summed up on the way in.

use std::io::{self, Read, Write};

const PIECE: usize = 64 << 10;

/// FNV-1a, as the programs of the guests have it.
#[derive(Debug)]
struct Sum(u64);

impl Sum {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

/// Bytes that do not repeat soon, other ones for each `seed`.
pub fn bytes(seed: u64) -> impl FnMut(&mut [u8]) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |bytes| {
        for word in bytes.chunks_mut(8) {
            // Xorshift.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            for (byte, value) in word.iter_mut().zip(state.to_le_bytes()) {
                *byte = value;
            }
        }
    }
}

/// Sends `total` such bytes; their checksum.
///
/// # Errors
/// The host's.
pub fn send(mut to: impl Write, seed: u64, total: usize) -> io::Result<u64> {
    let (mut fill, mut sum) = (bytes(seed), Sum::new());
    let mut piece = vec![0; PIECE];
    let mut left = total;
    while left > 0 {
        piece.truncate(left);
        fill(&mut piece);
        sum.add(&piece);
        to.write_all(&piece)?;
        left -= piece.len();
    }
    Ok(sum.0)
}

/// Reads to the end, or to an error, and shows `see` each piece: how much, and the checksum.
pub fn drain(mut from: impl Read, mut see: impl FnMut(&[u8])) -> (usize, u64) {
    let (mut length, mut sum) = (0, Sum::new());
    let mut piece = vec![0; PIECE];
    while let Ok(now @ 1..) = from.read(&mut piece) {
        let now = piece.get(..now).unwrap_or_default();
        sum.add(now);
        see(now);
        length += now.len();
    }
    (length, sum.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_has_the_checksum_of_what_comes() {
        let mut sent = Vec::new();
        let sum = send(&mut sent, 7, PIECE + 13).unwrap();
        let mut seen = Vec::new();
        let found = drain(&sent[..], |piece| seen.extend_from_slice(piece));
        assert_eq!((found, &seen), ((PIECE + 13, sum), &sent));
        assert_ne!(sum, send(io::sink(), 8, PIECE + 13).unwrap());
    }
}
