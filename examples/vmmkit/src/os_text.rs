//! Arguments and paths as text: whatever bytes a path has, it can be given, passed on and shown.
//!
//! A path of Linux is bytes, which need not be UTF-8. Options are text here; a byte that is not part of
//! UTF-8 text is one character of a private use area in it, and so are the bytes of such characters
//! themselves: text becomes the same bytes again.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use clap::builder::{PathBufValueParser, TypedValueParser};

/// The byte 0x80 is U+10FF80, the byte 0xff U+10FFFF: the end of the last plane for private use
/// (Unicode, 23.5).
const BASE: u32 = 0x10_ff00;

/// The byte that `character` stands for.
fn byte_of(character: char) -> Option<u8> {
    let byte = u32::from(character).checked_sub(BASE)?;
    u8::try_from(byte).ok().filter(|byte| *byte >= 0x80)
}

fn push_byte(text: &mut String, byte: u8) {
    text.extend(char::from_u32(BASE + u32::from(byte)));
}

/// Bytes as text.
pub(crate) fn of(bytes: &OsStr) -> String {
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
pub(crate) fn of_path(path: &Path) -> String {
    of(path.as_os_str())
}

/// The bytes that `text` stands for.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
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
pub(crate) fn path(text: &str) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes(text)))
}

/// What of a command line is a path of its own.
pub(crate) fn path_parser() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().map(|given| path(&given.to_string_lossy()))
}

/// `text` for a person: bytes that are not UTF-8 as `\xNN`.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match byte_of(character) {
            Some(byte) => shown.push_str(&format!("\\x{byte:02x}")),
            None => shown.push(character),
        }
    }
    shown
}

/// `text` as one word of a shell: of POSIX, or where it has bytes that are not UTF-8 or control
/// characters, as `$'...'` (POSIX.1-2024, 2.2.4).
pub(crate) fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let is_simple = |c: char| byte_of(c).is_none() && !c.is_control();
    if text.chars().all(is_simple) {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let mut word = String::from("$'");
    for character in text.chars() {
        match (character, byte_of(character)) {
            (_, Some(byte)) => word.push_str(&octal(byte)),
            ('\'' | '\\', _) => word.extend(['\\', character]),
            (control, _) if control.is_control() => {
                let mut buffer = [0; 4];
                let bytes = control.encode_utf8(&mut buffer).bytes();
                bytes.for_each(|byte| word.push_str(&octal(byte)));
            }
            (plain, _) => word.push(plain),
        }
    }
    word.push('\'');
    word
}

/// Three digits, so that what follows is not taken for one of them.
fn octal(byte: u8) -> String {
    format!("\\{byte:03o}")
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
        assert_eq!(
            shown(&of(OsStr::from_bytes(b"disk\xff.img"))),
            r"disk\xff.img"
        );
    }

    #[test]
    fn a_shell_reads_a_quoted_word_as_it_was() {
        for given in [
            &b"it's"[..],
            b"",
            b"a b",
            b"$x`",
            b"\xff'\\1",
            b"two\nlines\t",
            b"plain",
        ] {
            let word = quoted(&of(OsStr::from_bytes(given)));
            let script = format!("printf %s {word}");
            let output = std::process::Command::new("bash")
                .args(["-c", &script])
                .output();
            assert_eq!(output.unwrap().stdout, given, "{word}");
        }
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
