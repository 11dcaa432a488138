//! A file that output is added to.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, access, linkat};

use super::{
    FLAGS, FileError, FileId, FileKind, LockError, folder_of, is_planted_link, lock_file,
    open_options,
};

/// Whether others may add to the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// One writer: who else locks the file is refused, and refuses this one.
    Alone,
    /// Writers of whole lines, each of them added at the end (O_APPEND).
    Lines,
}

/// A file for output that was looked at, and nothing else: it is neither made nor changed before
/// [`open`](Self::open).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputPlan {
    path: PathBuf,
    sharing: Sharing,
    found: Option<Found>,
}

/// The file found at the path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    kind: FileKind,
    id: Option<FileId>,
}

impl OutputPlan {
    /// Looks at `path`, which may name a regular file, a file yet to be made, a pipe or a character
    /// device, and is to be writable.
    ///
    /// # Errors
    /// [`FileError`]: a file that cannot be written, is in use, or is something else.
    pub fn new(path: &Path, sharing: Sharing) -> Result<Self, FileError> {
        let path = path.to_owned();
        if is_planted_link(&path) {
            return Err(FileError::PlantedLink);
        }
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                may_be_made(&path)?;
                let found = None;
                return Ok(Self {
                    path,
                    sharing,
                    found,
                });
            }
            Err(error) => return Err(error.into()),
        };
        let (kind, id) = (FileKind::of(&metadata), FileId::of(&metadata));
        match kind {
            FileKind::Regular => drop(open_existing(&path, sharing)?),
            FileKind::Pipe | FileKind::CharacterDevice => {
                access(&path, Access::WRITE_OK).map_err(io::Error::from)?;
            }
            FileKind::Folder | FileKind::Socket | FileKind::BlockDevice => {
                return Err(FileError::Kind(kind));
            }
        }
        let found = Some(Found { kind, id });
        Ok(Self {
            path,
            sharing,
            found,
        })
    }

    /// Opens it for output at its end, without waiting for anybody. A file that is to be made has no
    /// name yet, or is removed again, unless the [`Output`] is [kept](Output::keep). `mode` is for a new
    /// file, less the umask.
    ///
    /// A pipe is opened for both directions: readers may come and go, and what it holds waits for the
    /// next one (fifo(7)).
    ///
    /// # Errors
    /// [`FileError`]: as for [`new`](Self::new), and a path that names another file by now.
    pub fn open(&self, mode: u32) -> Result<Output, FileError> {
        let Some(found) = &self.found else {
            return make(&self.path, self.sharing, mode);
        };
        let file = match found.kind {
            FileKind::Regular => open_existing(&self.path, self.sharing)?,
            FileKind::Pipe => open_options().read(true).write(true).open(&self.path)?,
            _ => open_options().append(true).open(&self.path)?,
        };
        let metadata = file.metadata()?;
        if FileKind::of(&metadata) != found.kind || FileId::of(&metadata) != found.id {
            return Err(FileError::Changed);
        }
        Ok(Output {
            file,
            is_new: IsNew::No,
        })
    }
}

/// An open file for output.
#[derive(Debug)]
pub struct Output {
    file: File,
    is_new: IsNew,
}

/// The steps left for a file that was made here.
#[derive(Debug)]
enum IsNew {
    No,
    /// It is to get this name.
    Nameless(PathBuf),
    /// It has a name, and loses it again if it is not kept.
    Named(PathBuf),
}

impl Output {
    /// The file, to write to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// From now on it is there, whatever happens. Without this a file that was made goes with this
    /// value.
    ///
    /// # Errors
    /// The host's: somebody made such a file meanwhile, for one.
    pub fn keep(&mut self) -> io::Result<()> {
        if let IsNew::Nameless(path) = &self.is_new {
            give_name(&self.file, path)?;
        }
        self.is_new = IsNew::No;
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let IsNew::Named(path) = &self.is_new {
            // It was made a moment ago, and holds nothing that anybody has asked for.
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether a file can be made at `path`.
fn may_be_made(path: &Path) -> Result<(), FileError> {
    if path.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(FileError::Kind(FileKind::Folder));
    }
    if fs::symlink_metadata(path).is_ok_and(|there| there.is_symlink()) {
        // A link that leads to nothing: the file is made where it leads to.
        return Ok(());
    }
    access(folder_of(path), Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)?;
    Ok(())
}

/// Opens a regular file that is there.
fn open_existing(path: &Path, sharing: Sharing) -> Result<File, FileError> {
    let file = open_options().append(true).open(path)?;
    locked(file, sharing)
}

fn locked(file: File, sharing: Sharing) -> Result<File, FileError> {
    match lock_file(&file, sharing == Sharing::Lines) {
        Ok(()) => Ok(file),
        Err(LockError::InUse { holder }) => Err(FileError::InUse { holder }),
        Err(LockError::Host(error)) => Err(error.into()),
    }
}

/// Makes the file, without a name where the file system can (O_TMPFILE of open(2)).
fn make(path: &Path, sharing: Sharing, mode: u32) -> Result<Output, FileError> {
    let mut options = open_options();
    options.append(true).mode(mode);
    let is_link = fs::symlink_metadata(path).is_ok();
    if !is_link
        && let Ok(file) = options
            .clone()
            .custom_flags(libc::O_TMPFILE | FLAGS)
            .open(folder_of(path))
        && Path::new(&descriptor(&file)).exists()
    {
        return Ok(Output {
            file: locked(file, sharing)?,
            is_new: IsNew::Nameless(path.to_owned()),
        });
    }
    // O_EXCL does not follow a link; where there is one, what it leads to must still be missing.
    let path = if is_link {
        super::id::target(path)
    } else {
        path.to_owned()
    };
    let file = options.create_new(true).open(&path)?;
    Ok(Output {
        file: locked(file, sharing)?,
        is_new: IsNew::Named(path),
    })
}

/// linkat(2) of a file without a name, as open(2) shows it at O_TMPFILE.
fn give_name(file: &File, path: &Path) -> io::Result<()> {
    let (from, follow) = (descriptor(file), AtFlags::SYMLINK_FOLLOW);
    Ok(linkat(
        rustix::fs::CWD,
        from,
        rustix::fs::CWD,
        path,
        follow,
    )?)
}

fn descriptor(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
