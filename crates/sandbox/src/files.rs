//! The files that may still be opened (Landlock, landlock(7)).

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus,
    PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope,
};
use thiserror::Error;

/// The newest version of Landlock that is asked for; a host with an older one closes what that can.
const VERSION: ABI = ABI::V6;

/// The files that a thread may still open once they are [closed](Self::close): none, but for those that are named here.
///
/// Descriptors that are open go on to work, and so do stat(2), and connect(2) to a socket with a path. What is not
/// there when the files are closed cannot be opened by its path later: name the folder that it will be made in.
#[derive(Clone, Debug, Default)]
pub struct FileRules {
    rules: Vec<(PathBuf, BitFlags<AccessFs>)>,
}

/// How much of the rules took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilesClosed {
    /// All that was asked for.
    All,
    /// As much as this host's version of Landlock knows.
    Partly,
    /// Nothing: the host has no Landlock, or has it switched off.
    Not,
}

/// Why files were not closed.
#[derive(Debug, Error)]
#[error("the host's kernel refuses the rules for files")]
pub struct FilesError(#[from] RulesetError);

impl FileRules {
    /// No file at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// The file `path`, or all files in and beneath that folder, may be read.
    pub fn read(&mut self, path: impl Into<PathBuf>) {
        self.rules.push((
            path.into(),
            AccessFs::from_read(VERSION) & !AccessFs::Execute,
        ));
    }

    /// The file `path` may be read and written, where it is.
    pub fn write(&mut self, path: impl Into<PathBuf>) {
        let access = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate;
        self.rules.push((path.into(), access));
    }

    /// Files, folders and sockets in and beneath the folder `path` may be made, written, renamed there and removed; files
    /// are not read.
    pub fn replace_in(&mut self, path: impl Into<PathBuf>) {
        let access = AccessFs::ReadDir
            | AccessFs::WriteFile
            | AccessFs::Truncate
            | AccessFs::MakeReg
            | AccessFs::MakeDir
            | AccessFs::MakeSock
            | AccessFs::RemoveFile
            | AccessFs::RemoveDir
            | AccessFs::Refer;
        self.rules.push((path.into(), access));
    }

    /// Files, folders, symbolic links, FIFOs and sockets in and beneath the folder `path` may be read, made, written, renamed
    /// and removed. No device may be made or controlled.
    pub fn change_in(&mut self, path: impl Into<PathBuf>) {
        let withheld =
            AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
        let access = AccessFs::from_all(VERSION) & !withheld;
        self.rules.push((path.into(), access));
    }

    /// Files in and beneath the folder `path` may be removed, and folders that are empty.
    pub fn remove_in(&mut self, path: impl Into<PathBuf>) {
        let access = AccessFs::RemoveFile | AccessFs::RemoveDir | AccessFs::ReadDir;
        self.rules.push((path.into(), access));
    }

    /// The paths that are named.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.rules.iter().map(|(path, _)| path.as_path())
    }

    /// Binds the calling thread, and the threads and processes that it starts from now on, for good: other files,
    /// TCP ports (from Linux 6.7) and sockets with abstract names (from 6.12) fail with EACCES or EPERM. A path that is
    /// not there has no effect. The thread gains no privileges by exec from now on.
    ///
    /// # Errors
    /// [`FilesError`]; nothing is closed then.
    pub fn close(&self) -> Result<FilesClosed, FilesError> {
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(VERSION))?
            .handle_access(AccessNet::from_all(VERSION))?
            .scope(Scope::AbstractUnixSocket)?
            .create()?;
        for (path, access) in &self.rules {
            let Ok(file) = PathFd::new(path) else {
                continue;
            };
            // The kernel refuses rights of folders for a file.
            let is_folder = fs::metadata(path).is_ok_and(|there| there.is_dir());
            let access = match is_folder {
                true => *access,
                false => *access & AccessFs::from_file(VERSION),
            };
            match (&mut ruleset).add_rule(PathBeneath::new(file, access)) {
                Ok(_) => {}
                // A pipe or a socket that is named by a descriptor, such as /dev/stderr, is on no file system: it is
                // not closed, and needs no rule.
                Err(error) if has_number(&error, EBADFD) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let status = ruleset.restrict_self()?;
        Ok(match (status.ruleset, status.landlock) {
            (_, LandlockStatus::NotEnabled | LandlockStatus::NotImplemented) => FilesClosed::Not,
            (RulesetStatus::FullyEnforced, _) => FilesClosed::All,
            (RulesetStatus::PartiallyEnforced, _) => FilesClosed::Partly,
            (RulesetStatus::NotEnforced, _) => FilesClosed::Not,
        })
    }
}

/// The answer to a rule for what is on no file system (landlock_add_rule(2)).
const EBADFD: i32 = 77;

/// Whether `error` is the host's of this number (errno(3)), or comes from it.
fn has_number(error: &(dyn Error + 'static), number: i32) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let host = error.downcast_ref::<io::Error>();
        if host.is_some_and(|host| host.raw_os_error() == Some(number)) {
            return true;
        }
        next = error.source();
    }
    false
}
