//! The command to run, and what it runs in.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use crate::error::InitramfsError;
use crate::wire::{END, MAX, TERMINAL, WRITABLE};

/// A command, and what it runs in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Task {
    /// The tag of the directory that is the root (virtio 1.2, 5.11.4).
    pub tag: String,
    /// The root is the directory itself. Otherwise what is written stays in the guest's memory, over the directory.
    pub writable: bool,
    /// The command and its arguments.
    pub arguments: Vec<OsString>,
    /// Its environment, and no other variables.
    pub environment: Vec<(OsString, OsString)>,
    /// The directory that it starts in; the root, where that is not there.
    pub directory: OsString,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// It runs at a terminal, the first virtio console.
    pub terminal: bool,
    /// The guest's name.
    pub host_name: String,
}

impl Task {
    /// `arguments`, in the directory `tag`, as root with an empty environment.
    pub fn new(tag: impl Into<String>, arguments: Vec<OsString>) -> Self {
        Self {
            tag: tag.into(),
            writable: false,
            arguments,
            environment: Vec::new(),
            directory: "/".into(),
            uid: 0,
            gid: 0,
            terminal: false,
            host_name: "guest".to_owned(),
        }
    }

    /// As the guest's program reads it.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, InitramfsError> {
        let mut texts = Texts::default();
        let mut flags = Vec::new();
        flags.extend(self.writable.then_some(WRITABLE));
        flags.extend(self.terminal.then_some(TERMINAL));
        texts.add("tag", [self.tag.as_bytes()])?;
        texts.add("flags", [&flags])?;
        for number in [self.uid, self.gid] {
            texts.add("number", [number.to_string().as_bytes()])?;
        }
        texts.add("directory", [self.directory.as_bytes()])?;
        texts.add("host name", [self.host_name.as_bytes()])?;
        texts.add("number", [self.arguments.len().to_string().as_bytes()])?;
        for argument in &self.arguments {
            texts.add("argument", [argument.as_bytes()])?;
        }
        for (name, value) in &self.environment {
            texts.add("variable", [name.as_bytes(), b"=", value.as_bytes()])?;
        }
        match texts.0.len() {
            0..MAX => Ok(texts.0),
            bytes => Err(InitramfsError::Long { bytes }),
        }
    }
}

/// Texts with their ends.
#[derive(Default)]
struct Texts(Vec<u8>);

impl Texts {
    fn add<const N: usize>(
        &mut self,
        what: &'static str,
        pieces: [&[u8]; N],
    ) -> Result<(), InitramfsError> {
        if pieces.iter().any(|piece| piece.contains(&END)) {
            return Err(InitramfsError::Nul { what });
        }
        self.0.extend(pieces.concat());
        self.0.push(END);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{TaskText, signal, text};

    #[test]
    fn a_task_is_read_as_it_is_written() {
        let mut task = Task::new("root", vec!["a".into(), "".into(), "c d".into()]);
        task.environment = vec![("A".into(), "=b".into()), ("PATH".into(), "".into())];
        (task.uid, task.gid) = (u32::MAX, 1000);
        task.terminal = true;
        let bytes = task.bytes().unwrap();
        let read = TaskText::parse(&bytes).unwrap();
        assert_eq!((read.tag, read.directory), (&b"root\0"[..], &b"/\0"[..]));
        assert_eq!((read.uid, read.gid, read.arguments), (u32::MAX, 1000, 3));
        assert!(read.has(TERMINAL) && !read.has(WRITABLE));
        assert_eq!(read.host_name, b"guest\0");
        let mut rest = read.texts;
        let texts: Vec<_> = std::iter::from_fn(|| text(&mut rest)).collect();
        let expected = [&b"a\0"[..], b"\0", b"c d\0", b"A==b\0", b"PATH=\0"];
        assert_eq!(texts, expected);
        for end in 0..bytes.len() - read.texts.len() {
            assert_eq!(TaskText::parse(&bytes[..end]), None);
        }
    }

    #[test]
    fn what_no_guest_can_have_is_refused() {
        let task = Task::new("root", vec!["a\0b".into()]);
        let made = task.bytes();
        assert!(matches!(
            made,
            Err(InitramfsError::Nul { what: "argument" })
        ));
        let task = Task::new("root", vec!["x".repeat(MAX).into()]);
        let made = task.bytes();
        assert!(matches!(made, Err(InitramfsError::Long { bytes: MAX.. })));
    }

    #[test]
    fn other_lines_ask_for_no_signal() {
        assert_eq!(signal(b"signal 15"), Some(15));
        for line in [
            &b"signal"[..],
            b"signal ",
            b"signal 0",
            b"signal 65",
            b"signal x",
            b"signal -1",
            b"signal 99999999999",
            b"",
        ] {
            assert_eq!(signal(line), None);
        }
    }
}
