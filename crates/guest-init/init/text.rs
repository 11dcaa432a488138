//! Short texts without a heap.

use core::fmt;

/// The most bytes: those of a line that the host reads.
const MAX: usize = 512;

/// A line; what is too long is left out.
pub struct Line {
    bytes: [u8; MAX],
    length: usize,
}

impl Line {
    pub fn of(text: &str) -> Self {
        let mut line = Self::default();
        let _ = fmt::Write::write_str(&mut line, text);
        line
    }

    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl Default for Line {
    fn default() -> Self {
        Self {
            bytes: [0; MAX],
            length: 0,
        }
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            let mut bytes = [0; 4];
            let bytes = letter.encode_utf8(&mut bytes).as_bytes();
            let Some(place) = self.bytes.get_mut(self.length..self.length + bytes.len()) else {
                break;
            };
            place.copy_from_slice(bytes);
            self.length += bytes.len();
        }
        Ok(())
    }
}
