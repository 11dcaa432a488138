//! One structure: a formatted part of numbers, then the texts that it refers to (DSP0134, 6.1).

/// A structure that is being written.
pub(super) struct Structure {
    bytes: Vec<u8>,
    strings: Vec<u8>,
    count: u8,
}

impl Structure {
    /// That of type `kind`, which others refer to by `handle`.
    pub(super) fn new(kind: u8, handle: u16) -> Self {
        let [low, high] = handle.to_le_bytes();
        Self {
            // The length, the second byte, is set at the end.
            bytes: vec![kind, 0, low, high],
            strings: Vec::new(),
            count: 0,
        }
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(super) fn byte(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    pub(super) fn word(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn dword(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn qword(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    /// A reference to `text`; 0 where there is none.
    pub(super) fn text(mut self, text: Option<&str>) -> Self {
        let number = text.map_or(0, |text| self.add(text));
        self.byte(number)
    }

    /// Adds a text, which is neither empty nor has a NUL, without a reference: its number is its place.
    pub(super) fn add(&mut self, text: &str) -> u8 {
        self.count = self.count.saturating_add(1);
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        self.count
    }

    /// All its bytes.
    pub(super) fn finish(self) -> Vec<u8> {
        let Self {
            mut bytes,
            mut strings,
            ..
        } = self;
        let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        if let Some(place) = bytes.get_mut(1) {
            *place = length;
        }
        if strings.is_empty() {
            strings.push(0);
        }
        strings.push(0);
        bytes.extend(strings);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_follow_their_numbers() {
        let structure = Structure::new(1, 0x102).word(0x304);
        let structure = structure.text(Some("one")).text(None).text(Some("two"));
        let bytes = structure.finish();
        assert_eq!(bytes, b"\x01\x09\x02\x01\x04\x03\x01\x00\x02one\0two\0\0");
    }

    #[test]
    fn a_structure_without_texts_ends_in_two_nuls() {
        assert_eq!(Structure::new(127, 1).finish(), b"\x7f\x04\x01\0\0\0");
    }
}
