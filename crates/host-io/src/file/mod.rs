//! Files of the host's that are named by a path: opened without waiting, and only what they should be.
//!
//! open(2) of a named pipe waits for its other end, that of a device may do anything, and one with
//! O_CREAT or O_TRUNC has changed something before anybody looked. So a path is examined first, opened
//! with O_NONBLOCK, and examined again.

mod error;
mod id;
mod lock;
mod memory;
mod output;
mod replace;
mod text;

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

pub use error::{FileError, FileKind};
pub use id::FileId;
pub use lock::{Holder, LockError, lock_file, lock_holder};
pub use memory::memory_file;
pub use output::{Output, OutputPlan, Sharing};
pub use replace::replace_file;
pub use text::{read_file, read_text};

/// On every open: no waiting, and no terminal of ours.
const FLAGS: i32 = libc::O_NONBLOCK | libc::O_NOCTTY;

/// Options of a file for [`OpenOptions::open`], which then waits for nobody: not for the other end of a
/// pipe, nor for a line's carrier. Reads and writes of a regular file or block device are as ever.
pub fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(FLAGS);
    options
}

/// Opens what is to be a file for reading, without waiting: pipes and folders are opened too, and are for
/// the reader to refuse in its own words.
///
/// # Errors
/// The host's; a socket cannot be opened at all.
pub fn open_input(path: &Path) -> io::Result<File> {
    match fs::metadata(path)? {
        there if FileKind::of(&there) == FileKind::Socket => {
            Err(FileError::Kind(FileKind::Socket).into())
        }
        _ => open_options().read(true).open(path),
    }
}

impl FileKind {
    /// That of what `metadata` describes.
    pub fn of(metadata: &Metadata) -> Self {
        let kind = metadata.file_type();
        match () {
            () if kind.is_file() => Self::Regular,
            () if kind.is_dir() => Self::Folder,
            () if kind.is_fifo() => Self::Pipe,
            () if kind.is_socket() => Self::Socket,
            () if kind.is_block_device() => Self::BlockDevice,
            () => Self::CharacterDevice,
        }
    }
}

/// Whether `path` is a symbolic link that somebody else may have put there for us to follow: one in a
/// folder where everybody may make files, which belongs neither to this user nor to the folder's owner
/// (the rule of fs.protected_symlinks, kept here also where the host does not).
fn is_planted_link(path: &Path) -> bool {
    let Ok(link) = fs::symlink_metadata(path) else {
        return false;
    };
    let Ok(folder) = fs::metadata(folder_of(path)) else {
        return false;
    };
    let user = rustix::process::geteuid().as_raw();
    let is_open_to_all = folder.mode() & 0o002 != 0;
    link.is_symlink() && is_open_to_all && link.uid() != user && link.uid() != folder.uid()
}

/// The folder that `path` is in: `.` for a name alone.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests;
