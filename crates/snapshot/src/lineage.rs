//! The files with RAM that a snapshot of changes builds on.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use crate::{FolderError, MAX_CHAIN};

/// The prefix of its name; hexadecimal digits follow.
pub(crate) const RAM_PREFIX: &str = "ram-";
const RAM_DIGITS: usize = 16;

/// A file with RAM, as it is known again: by its name, of which 64 bits are random, its length, and the time of
/// the last write to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RamFile {
    pub(crate) name: String,
    length: u64,
    /// Seconds since 1970, and nanoseconds.
    modified: (i64, i64),
}

impl RamFile {
    pub(crate) fn of(name: &str, metadata: &Metadata) -> Self {
        Self {
            name: name.to_owned(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }

    /// Its name, the same in every folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether `metadata` are of this file, or of a copy of it that kept the time, if in seconds.
    pub(crate) fn is(&self, metadata: &Metadata) -> bool {
        let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
        metadata.len() == self.length
            && seconds == self.modified.0
            && (nanoseconds == self.modified.1 || nanoseconds == 0)
    }

    fn to_line(&self) -> String {
        let Self {
            name,
            length,
            modified: (seconds, nanoseconds),
        } = self;
        format!("\n{name} {length} {seconds} {nanoseconds}")
    }

    fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let name = ram_name(words.next()?.as_bytes())?.to_owned();
        let length = words.next()?.parse().ok()?;
        let modified = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        words.next().is_none().then_some(Self {
            name,
            length,
            modified,
        })
    }
}

/// The contents of the section of a snapshot of changes: the name of its own file, and the files that it builds on, one
/// a line.
pub(crate) fn to_text(name: &str, bases: &[RamFile]) -> String {
    let lines = bases.iter().map(RamFile::to_line);
    std::iter::once(name.to_owned()).chain(lines).collect()
}

/// The same, read; `None` where it is malformed. No two files have one name.
pub(crate) fn from_text(contents: &[u8]) -> Option<(&str, Vec<RamFile>)> {
    let text = std::str::from_utf8(contents).ok()?;
    let mut lines = text.split('\n');
    let name = ram_name(lines.next()?.as_bytes())?;
    let mut bases: Vec<RamFile> = Vec::new();
    for line in lines {
        let base = RamFile::from_line(line)?;
        let is_there = base.name == name || bases.iter().any(|it| it.name == base.name);
        if is_there || bases.len() + 1 >= MAX_CHAIN {
            return None;
        }
        bases.push(base);
    }
    (!bases.is_empty()).then_some((name, bases))
}

/// `bytes` as the name of a file with RAM: never one of another folder.
pub(crate) fn ram_name(bytes: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(bytes).ok()?;
    let digits = name.strip_prefix(RAM_PREFIX)?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    (digits.len() == RAM_DIGITS && is_hex).then_some(name)
}

/// The files with RAM of a snapshot and of all that it builds on, open: what a machine that was restored from it
/// differs from.
#[derive(Clone, Debug)]
pub struct Lineage {
    files: Vec<(RamFile, Arc<File>)>,
}

impl Lineage {
    pub(crate) fn of(files: Vec<(RamFile, Arc<File>)>) -> Self {
        Self { files }
    }

    /// These, and `file`, which builds on them.
    pub(crate) fn and(mut self, file: (RamFile, Arc<File>)) -> Self {
        self.files.push(file);
        self
    }

    /// Whether one more can build on them: all are as they were, and they are fewer than [`MAX_CHAIN`](crate::MAX_CHAIN).
    pub fn is_intact(&self) -> bool {
        self.check().is_ok()
    }

    /// The files, first the one that holds all of RAM.
    pub fn files(&self) -> impl Iterator<Item = &RamFile> {
        self.files.iter().map(|(file, _)| file)
    }

    /// The files, if one more can build on them and all are as they were.
    pub(crate) fn check(&self) -> Result<Vec<RamFile>, FolderError> {
        if self.files.len() >= MAX_CHAIN {
            return Err(FolderError::LongChain);
        }
        for (expected, file) in &self.files {
            let name = expected.name.clone();
            let metadata = file.metadata();
            let is_whole = metadata.and_then(|it| match it.nlink() {
                0 => Err(io::ErrorKind::NotFound.into()),
                _ => Ok(expected.is(&it)),
            });
            match is_whole {
                Ok(true) => {}
                Ok(false) => return Err(FolderError::BaseChanged { name }),
                Err(_) => return Err(FolderError::BaseGone { name }),
            }
        }
        Ok(self.files().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(digit: char) -> RamFile {
        RamFile {
            name: format!("ram-{}", digit.to_string().repeat(16)),
            length: 1 << 30,
            modified: (1_700_000_000, 5),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let own = "ram-0123456789abcdef";
        let bases = vec![base('1'), base('2')];
        let text = to_text(own, &bases);
        assert_eq!(from_text(text.as_bytes()), Some((own, bases)));
    }

    #[test]
    fn what_is_malformed_or_too_long_is_refused() {
        let own = "ram-0123456789abcdef";
        for text in [
            own.to_owned(),
            String::new(),
            format!("{own}\n"),
            format!("{own}\n/etc/passwd 1 2 3"),
            format!("{own}\n../ram-1111111111111111 1 2 3"),
            format!("{own}\n{own} 1 2 3"),
            format!("{own}\nram-1111111111111111 1 2"),
            format!("{own}\nram-1111111111111111 1 2 3 4"),
            format!("{own}\nram-1111111111111111 -1 2 3"),
            to_text(own, &[base('1'), base('1')]),
        ] {
            assert_eq!(from_text(text.as_bytes()), None, "{text:?}");
        }
        let many = |count| ('a'..='f').chain('0'..='9').chain('A'..='F').take(count);
        let text = |count| to_text(own, &many(count).map(base).collect::<Vec<_>>());
        assert!(from_text(text(MAX_CHAIN - 1).as_bytes()).is_some());
        assert!(from_text(text(MAX_CHAIN).as_bytes()).is_none());
    }
}
