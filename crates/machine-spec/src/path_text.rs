//! Paths as text: whatever bytes a path has, it can be given, passed on and shown.
//!
//! A path of Linux is bytes, which need not be UTF-8. Options are text here; a byte that is not part of
//! UTF-8 text is one character of a private use area in it, and so are the bytes of such characters
//! themselves: text becomes the same bytes again.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The byte 0x80 is U+10FF80, the byte 0xff U+10FFFF: the end of the last plane for private use
/// (Unicode, 23.5).
const BASE: u32 = 0x10_ff00;

/// The byte that `character` stands for, if it stands for one.
pub fn byte_of(character: char) -> Option<u8> {
    let byte = u32::from(character).checked_sub(BASE)?;
    u8::try_from(byte).ok().filter(|byte| *byte >= 0x80)
}

fn push_byte(text: &mut String, byte: u8) {
    text.extend(char::from_u32(BASE + u32::from(byte)));
}

/// Bytes as text.
pub fn of(bytes: &OsStr) -> String {
    let mut text = String::new();
    for chunk in bytes.as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            match byte_of(character) {
                None => text.push(character),
                Some(_) => {
                    let mut buffer = [0; 4];
                    let bytes = character.encode_utf8(&mut buffer).bytes();
                    bytes.for_each(|byte| push_byte(&mut text, byte));
                }
            }
        }
        let invalid = chunk.invalid().iter();
        invalid.for_each(|byte| push_byte(&mut text, *byte));
    }
    text
}

/// A path as text.
pub fn of_path(path: &Path) -> String {
    of(path.as_os_str())
}

/// The bytes that `text` stands for.
pub fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match byte_of(character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend(character.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    bytes
}

/// The path that `text` stands for.
pub fn path(text: &str) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_come_back_as_they_were() {
        let private = "\u{10ff80}\u{10ffff}".as_bytes();
        for given in [
            &b"plain"[..],
            b"a,b",
            b"\xff",
            b"a\xc3(\x80",
            "\u{e4}".as_bytes(),
            private,
        ] {
            let text = of(OsStr::from_bytes(given));
            assert_eq!(bytes(&text), given, "{text}");
            assert_eq!(path(&text).as_os_str().as_bytes(), given);
        }
    }
}
