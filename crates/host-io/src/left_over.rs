//! A socket file that nobody listens on, while another is to take its place.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::listener::is_left_over;

/// A socket file of a process that has ended, out of the way of one that is to be made in its place: it is
/// there again when this is dropped, unless it was [removed](Self::remove) or something else is there by
/// then. So what fails half-way leaves it as it was.
#[derive(Debug)]
pub struct LeftOver {
    path: PathBuf,
    /// Its name meanwhile; `None` once it is removed.
    aside: Option<PathBuf>,
}

impl LeftOver {
    /// Moves the socket at `path` aside, into the same folder; `None` where there is no such socket.
    ///
    /// # Errors
    /// The host's: a folder that may not be written.
    pub fn set_aside(path: &Path) -> io::Result<Option<Self>> {
        if !is_left_over(path) {
            return Ok(None);
        }
        let mut name = path.file_name().unwrap_or_default().as_bytes().to_vec();
        name.extend(format!(".{}.old", std::process::id()).bytes());
        let aside = path.with_file_name(std::ffi::OsStr::from_bytes(&name));
        renameat_with(CWD, path, CWD, &aside, RenameFlags::NOREPLACE)?;
        Ok(Some(Self {
            path: path.to_owned(),
            aside: Some(aside),
        }))
    }

    /// Removes it: the other has taken its place for good.
    pub fn remove(mut self) {
        if let Some(aside) = self.aside.take() {
            // It may be gone by now.
            let _ = fs::remove_file(aside);
        }
    }
}

impl Drop for LeftOver {
    fn drop(&mut self) {
        if let Some(aside) = self.aside.take() {
            // What is there by now stays.
            let _ = renameat_with(CWD, &aside, CWD, &self.path, RenameFlags::NOREPLACE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::Listener;

    #[test]
    fn a_socket_that_was_left_behind_is_there_again_unless_another_has_its_place() {
        let path = std::env::temp_dir().join(format!("vmmkit-left-over-{}", std::process::id()));
        assert!(LeftOver::set_aside(&path).unwrap().is_none());
        drop(UnixListener::bind(&path).unwrap());
        let inode = fs::metadata(&path).unwrap().ino();
        let left_over = LeftOver::set_aside(&path).unwrap().unwrap();
        assert!(!path.exists());
        let listener = Listener::bind(&path).unwrap();
        assert!(
            LeftOver::set_aside(&path).unwrap().is_none(),
            "it is in use"
        );
        drop(listener);
        drop(left_over);
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        let left_over = LeftOver::set_aside(&path).unwrap().unwrap();
        let aside = left_over.aside.clone().unwrap();
        left_over.remove();
        assert!(!path.exists() && !aside.exists());
    }
}
