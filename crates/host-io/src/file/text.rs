//! A text of moderate size.

use std::fs;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use super::{FileError, FileKind, open_options};
use crate::pollable::wait_readable;

/// How long one look at a pipe takes before the next.
const LOOK: Duration = Duration::from_secs(60);

/// Reads all of a text file, as [`read_file`] does.
///
/// # Errors
/// [`FileError`]: those of [`read_file`], or text that is not UTF-8.
pub fn read_text(path: &Path, limit: usize) -> Result<String, FileError> {
    let text = String::from_utf8(read_file(path, limit)?);
    Ok(text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))?)
}

/// Reads all of a file of less than `limit` bytes. A pipe is read to its end, as a shell's
/// `<(command)` is one; one that nobody writes to is not waited for.
///
/// # Errors
/// [`FileError`]: the host's reason, a file that is too long, or something that is not read to its end.
pub fn read_file(path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    let kind = FileKind::of(&fs::metadata(path)?);
    if matches!(kind, FileKind::Socket | FileKind::BlockDevice) {
        return Err(FileError::Kind(kind));
    }
    let mut file = open_options().read(true).open(path)?;
    let mut bytes = Vec::new();
    loop {
        let left = limit.saturating_sub(bytes.len()) as u64;
        match file.by_ref().take(left).read_to_end(&mut bytes) {
            Ok(_) if bytes.len() >= limit => return Err(FileError::TooLong(limit)),
            Ok(_) if bytes.is_empty() && kind == FileKind::Pipe => return Err(FileError::NoWriter),
            Ok(_) => return Ok(bytes),
            // What was read before it is there.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait_readable(file.as_fd(), LOOK);
            }
            Err(error) => return Err(error.into()),
        }
    }
}
