//! Which file a path stands for.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{FileKind, folder_of};

/// Which regular file a path stands for, whatever the path is called; of a file that does not exist
/// yet, the place that it would have. Two that are equal are the same file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileId(Id);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Id {
    /// Device and inode.
    There(u64, u64),
    /// Device and inode of the folder, and the name.
    New(u64, u64, OsString),
}

impl FileId {
    /// That of the regular file at `path`, or of the one that would be made there; `None` for anything
    /// else, and where that cannot be told.
    pub fn of_path(path: &Path) -> Option<Self> {
        if let Ok(metadata) = fs::metadata(path) {
            return Self::of(&metadata);
        }
        let path = target(path);
        let folder = fs::metadata(folder_of(&path)).ok()?;
        let name = path.file_name()?.to_owned();
        Some(Self(Id::New(folder.dev(), folder.ino(), name)))
    }

    /// That of a regular file.
    pub fn of(metadata: &Metadata) -> Option<Self> {
        let is_file = FileKind::of(metadata) == FileKind::Regular;
        is_file.then(|| Self(Id::There(metadata.dev(), metadata.ino())))
    }
}

/// Where a link that leads to nothing leads.
pub(super) fn target(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    // As many as the kernel follows (path_resolution(7)).
    for _ in 0..40 {
        match fs::read_link(&path) {
            Ok(link) => path = folder_of(&path).join(link),
            Err(_) => break,
        }
    }
    path
}
