//! The roles of files: nothing is written over what something else is.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use vmmkit_host_io::{FileError, FileId, OutputPlan, Sharing};

/// The role of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// It is read.
    Input,
    /// A guest has it as its disk. Two that are the same file keep each other out by locks.
    Disk,
    /// It is the guest's RAM.
    Ram,
    /// Bytes are added to it.
    Output(Sharing),
    /// It is replaced as a whole.
    Report,
    /// Clients come to it. One that a process has left behind is replaced.
    Socket,
    /// It is this process's stdout, and may be that of others.
    Stream,
}

/// A file that is named by `T`: a field, or an option of the embedder's own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamedFile<T> {
    /// The owner of the name.
    pub owner: T,
    /// The file.
    pub path: PathBuf,
    /// Its role.
    pub role: Role,
}

impl<T> NamedFile<T> {
    /// `path`, which `owner` names.
    pub fn new(owner: T, path: &Path, role: Role) -> Self {
        Self {
            owner,
            path: path.to_owned(),
            role,
        }
    }

    /// The same file, named by `owner` of it.
    pub fn map<U>(self, owner: impl FnOnce(T) -> U) -> NamedFile<U> {
        NamedFile {
            owner: owner(self.owner),
            path: self.path,
            role: self.role,
        }
    }
}

impl Role {
    /// Whether one file may be both.
    fn goes_with(self, other: Self) -> bool {
        let is_given = |role| matches!(role, Self::Input | Self::Disk);
        match (self, other) {
            (Self::Stream, Self::Output(_) | Self::Report | Self::Stream)
            | (Self::Output(_) | Self::Report, Self::Stream) => true,
            (one, other) => is_given(one) && is_given(other),
        }
    }

    fn is_written(self) -> bool {
        matches!(self, Self::Output(_) | Self::Report)
    }
}

/// A file that cannot have its role.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileFault<'a, T> {
    /// It has two that do not go together.
    Shared {
        /// The owner that would write to it, if one would.
        output: &'a T,
        /// The other.
        other: &'a T,
    },
    /// It cannot be written to.
    Output {
        /// The owner.
        owner: &'a T,
        /// The reason.
        source: FileError,
    },
}

/// Checks `files`, and changes none: no two owners may mean one file where that would destroy it, and files for
/// output can be written.
///
/// # Errors
/// [`FileFault`]: the first that is wrong.
pub fn check_files<T>(files: &[NamedFile<T>]) -> Result<(), FileFault<'_, T>> {
    let mut known: Vec<(FileId, &NamedFile<T>)> = Vec::new();
    for one in files {
        let id = match one.role {
            Role::Stream => stdout_id(),
            _ => FileId::of_path(&one.path),
        };
        let Some(id) = id else {
            continue;
        };
        let same = known
            .iter()
            .find(|(it, other)| *it == id && !one.role.goes_with(other.role));
        if let Some((_, other)) = same {
            return Err(conflict(one, other));
        }
        known.push((id, one));
    }
    files.iter().try_for_each(check_output)
}

fn conflict<'a, T>(one: &'a NamedFile<T>, other: &'a NamedFile<T>) -> FileFault<'a, T> {
    let (output, other) = match one.role.is_written() {
        true => (&one.owner, &other.owner),
        false => (&other.owner, &one.owner),
    };
    FileFault::Shared { output, other }
}

fn check_output<T>(file: &NamedFile<T>) -> Result<(), FileFault<'_, T>> {
    let sharing = match file.role {
        Role::Output(sharing) => sharing,
        Role::Report => Sharing::Alone,
        _ => return Ok(()),
    };
    let owner = &file.owner;
    let plan = OutputPlan::new(&file.path, sharing).map(drop);
    plan.map_err(|source| FileFault::Output { owner, source })
}

fn stdout_id() -> Option<FileId> {
    let stdout = io::stdout().as_fd().try_clone_to_owned().ok()?;
    FileId::of(&File::from(stdout).metadata().ok()?)
}
