//! Where a user's machines are found.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::InstanceError;

/// The folder of a user's machines: it is the user's own, and nobody else may look into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeFolder(PathBuf);

impl RuntimeFolder {
    /// The folder of `program` for the user whom this process runs as: `program` in
    /// $XDG_RUNTIME_DIR, or in /run/user/UID, or else /tmp/`program`-UID. It is made if it is not there.
    ///
    /// # Errors
    /// [`InstanceError`] where it cannot be made, or is not the user's own.
    pub fn of_this_user(program: &str) -> Result<Self, InstanceError> {
        let uid = rustix::process::geteuid().as_raw();
        let xdg = std::env::var_os("XDG_RUNTIME_DIR");
        Self::at(&place(program, xdg.as_deref(), uid))
    }

    /// A folder at `path`, which is made if it is not there.
    ///
    /// # Errors
    /// [`InstanceError`] where it cannot be made, or is not the user's own.
    pub fn at(path: &Path) -> Result<Self, InstanceError> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(InstanceError::host("make the folder", path)(error));
            }
            _ => {}
        }
        // Not what a link leads to: in /tmp anybody may have put one.
        let found = fs::symlink_metadata(path);
        let found = found.map_err(InstanceError::host("look at", path))?;
        let uid = rustix::process::geteuid().as_raw();
        let reason = if !found.is_dir() {
            "it is not a folder".to_owned()
        } else if found.uid() != uid {
            format!("it belongs to user {}, not to user {uid}", found.uid())
        } else if found.mode() & 0o077 != 0 {
            format!(
                "others have access to it (its mode is {:03o})",
                found.mode() & 0o777
            )
        } else {
            return Ok(Self(path.to_owned()));
        };
        Err(InstanceError::Unsafe {
            path: path.to_owned(),
            reason,
        })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Where the folder of `program` and user `uid` is.
fn place(program: &str, xdg: Option<&OsStr>, uid: u32) -> PathBuf {
    let is_own = |path: &Path| {
        path.is_absolute() && fs::metadata(path).is_ok_and(|m| m.is_dir() && m.uid() == uid)
    };
    let run = PathBuf::from(format!("/run/user/{uid}"));
    xdg.map(PathBuf::from)
        .into_iter()
        .chain([run])
        .find(|path| is_own(path))
        .map_or_else(
            || format!("/tmp/{program}-{uid}").into(),
            |path| path.join(program),
        )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::fake::Folder;

    #[test]
    fn a_runtime_folder_of_somebody_else_is_not_used() {
        let uid = rustix::process::geteuid().as_raw();
        let folder = Folder::new();
        let xdg = Some(folder.path().as_os_str());
        assert_eq!(place("vmm", xdg, uid), folder.path().join("vmm"));
        assert!(!place("vmm", xdg, uid + 1).starts_with(folder.path()));
        assert!(!place("vmm", Some(OsStr::new("relative")), uid).starts_with("relative"));
        assert_eq!(place("vmm", None, 4_000_000), Path::new("/tmp/vmm-4000000"));
    }

    #[test]
    fn a_folder_that_others_can_write_in_is_refused() {
        let folder = Folder::new();
        let path = folder.path().join("open");
        RuntimeFolder::at(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let error = RuntimeFolder::at(&path).unwrap_err().to_string();
        assert!(error.contains("others have access"), "{error}");
    }

    #[test]
    fn a_link_is_no_folder() {
        let folder = Folder::new();
        symlink(folder.path(), folder.path().join("link")).unwrap();
        let error = RuntimeFolder::at(&folder.path().join("link")).unwrap_err();
        assert!(error.to_string().contains("not a folder"), "{error}");
    }
}
