//! Constant facts about a machine, kept in its folder: they can be read though the machine does not answer.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Entry, InstanceError, RuntimeFolder};
use crate::MachineInfo;

/// The file's name.
const ABOUT: &str = "about.json";
/// The bytes of it that are read.
const MAX_SIZE: u64 = 64 << 10;

impl Entry {
    /// Writes down what `about` says, for [`RuntimeFolder::about`].
    ///
    /// # Errors
    /// [`InstanceError`] where the host refuses.
    pub fn write_about(&self, about: &MachineInfo) -> Result<(), InstanceError> {
        let path = path_in(&self.folder.of(&self.name));
        let failed = InstanceError::host("write", &path);
        let write = || -> io::Result<()> {
            let text = serde_json::to_vec(about)?;
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
                .open(&path)?;
            file.write_all(&text)
        };
        write().map_err(failed)
    }
}

impl RuntimeFolder {
    /// The facts that the machine called `name` wrote down when it began, with its age of now. Its state is
    /// that of the beginning. `None` where it has not, or not yet.
    pub fn about(&self, name: &str) -> Option<MachineInfo> {
        if !super::is_name(name) {
            return None;
        }
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits() as i32)
            .open(path_in(&self.of(name)))
            .ok()?;
        let began = file.metadata().ok()?.modified().ok()?;
        let mut text = Vec::new();
        file.take(MAX_SIZE).read_to_end(&mut text).ok()?;
        let about: MachineInfo = serde_json::from_slice(&text).ok()?;
        let age = began.elapsed().unwrap_or_default().as_millis();
        Some(MachineInfo {
            age_milliseconds: u64::try_from(age).unwrap_or(u64::MAX),
            ..about
        })
    }
}

pub(super) fn path_in(folder: &Path) -> PathBuf {
    folder.join(ABOUT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MachineState;
    use crate::fake::Folder;

    #[test]
    fn what_a_machine_wrote_down_is_read_and_goes_with_it() {
        let place = Folder::new();
        let folder = RuntimeFolder::at(&place.path().join("run")).unwrap();
        let entry = folder.enter("web").unwrap();
        assert_eq!(folder.about("web"), None);
        let about = MachineInfo {
            name: "web".to_owned(),
            state: MachineState::Created,
            pid: 1,
            version: "1".to_owned(),
            age_milliseconds: 0,
            vcpus: 3,
            memory_bytes: 1 << 30,
            kernel: "bzImage".to_owned(),
            vsock_socket: None,
        };
        entry.write_about(&about).unwrap();
        let read = folder.about("web").unwrap();
        assert_eq!((read.vcpus, &*read.kernel), (3, "bzImage"));
        drop(entry);
        assert_eq!(folder.about("web"), None);
        assert!(!folder.path().join("web").exists());
        assert_eq!(folder.about("../web"), None);
    }
}
