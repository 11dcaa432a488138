//! Paths as text, as [`path_text`](vmmkit_machine_spec::path_text) has them, for a person and for a shell.

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};
use vmmkit_machine_spec::path_text::byte_of;
pub(crate) use vmmkit_machine_spec::path_text::{of, of_path, path};

/// Takes a part of a command line that is a path of its own.
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
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn bytes_that_are_not_text_are_shown() {
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
