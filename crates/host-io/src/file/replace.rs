//! A file that is replaced as a whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{FileError, FileKind, LockError, folder_of, is_planted_link, lock_file, open_options};
use crate::pollable::wait_writable;

/// How many names are tried for the file beside it.
const TRIES: u32 = 16;

/// Replaces the regular file at `path` by `bytes`: a reader finds the old content or the new one, never
/// a part. A link keeps pointing where it does. What is not a regular file (a pipe, /dev/stderr) is
/// written as it is, for up to `patience` in all; a pipe that nobody reads is not waited for.
///
/// # Errors
/// [`FileError`]; a file that was there before is still there then. One that another process has locked
/// (a disk of a guest's) is left alone, and so are folders, sockets and block devices.
pub fn replace_file(path: &Path, bytes: &[u8], patience: Duration) -> Result<(), FileError> {
    if is_planted_link(path) {
        return Err(FileError::PlantedLink);
    }
    match fs::metadata(path).map(|there| FileKind::of(&there)) {
        Ok(FileKind::Regular) => must_be_free(path)?,
        Ok(FileKind::Pipe | FileKind::CharacterDevice) => return write(path, bytes, patience),
        Ok(kind) => return Err(FileError::Kind(kind)),
        Err(_) => {}
    }
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (mut file, beside) = make_beside(path)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    Ok(written?)
}

/// Refuses a file that somebody has locked.
fn must_be_free(path: &Path) -> Result<(), FileError> {
    // For writing where it may not be read, as by a process that is confined.
    let read = open_options().read(true).open(path);
    let Ok(file) = read.or_else(|_| open_options().write(true).open(path)) else {
        // It can be replaced all the same: that is a matter of the folder.
        return Ok(());
    };
    match lock_file(&file, false) {
        Err(LockError::InUse { holder }) => Err(FileError::InUse { holder }),
        Ok(()) | Err(LockError::Host(_)) => Ok(()),
    }
}

/// A new file in the same folder. Its name cannot be known beforehand, and a file or link that has it
/// all the same is left alone (O_EXCL).
fn make_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for attempt in 0..TRIES {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{:016x}", RandomState::new().hash_one(attempt)));
        let beside = folder_of(path).join(name);
        // Not for reading, which a process that is confined may not do there.
        match File::options().write(true).create_new(true).open(&beside) {
            Ok(file) => return Ok((file, beside)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Writes to a pipe or device.
fn write(path: &Path, bytes: &[u8], patience: Duration) -> Result<(), FileError> {
    let mut file =
        open_options()
            .write(true)
            .open(path)
            .map_err(|error| match error.raw_os_error() {
                // open(2) of a pipe for writing, without a reader.
                Some(libc::ENXIO) => FileError::NoReader,
                _ => error.into(),
            })?;
    let deadline = Instant::now() + patience;
    let mut rest = bytes;
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(length) => rest = rest.get(length..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() || !wait_writable(file.as_fd(), left) {
                    return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Err(FileError::NoReader);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
