//! A snapshot in a folder: the container, and a file with the RAM beside it.

use std::collections::hash_map::RandomState;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::hash::BuildHasher;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::lineage::{RAM_PREFIX, RamFile, from_text, ram_name, to_text};
use crate::opened::{Places, Ram};
use crate::{FolderError, Lineage, Reader, Section, Snapshot, Writer};

/// The file of the container.
const STATE: &str = "machine.snapshot";
/// The section that names the file with the RAM.
const RAM: &str = "ram";
const RAM_KIND: &str = "ram-file";
/// The kind of that section where the file has only the pages that changed.
const CHANGES_KIND: &str = "ram-changes";
/// The prefix of a container that is being written.
const TEMPORARY: &str = "machine.snapshot.new-";
/// The longest container that is read, in bytes.
pub const MAX_CONTAINER: u64 = 64 << 20;

/// A folder that holds one snapshot: `machine.snapshot`, the container, and `ram-` with 16 digits, the RAM.
///
/// A new snapshot takes the place of the old one at once, by a rename: whatever happens while it is written, the
/// folder holds one of the two whole.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`, which need not exist before something is saved.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Saves what `write` writes: sections, and the RAM to an empty file. All of it is on the disk when this
    /// returns. The files are for their owner only (mode 0600), and so is a folder that is made (0700). Returns its file
    /// with RAM, which a later snapshot may build on.
    ///
    /// # Errors
    /// The result of `write`, or [`FolderError`]; the folder holds what it held before then.
    pub fn save<E: From<FolderError>>(
        &self,
        write: impl FnOnce(&mut Writer, &File) -> Result<(), E>,
    ) -> Result<Lineage, E> {
        self.save_on(Lineage::of(Vec::new()), write)
    }

    /// As [`save`](Self::save), of what has changed since the snapshots whose RAM `lineage` is: they are needed to
    /// open this one again, under any name but with their contents and times. `write` writes the pages that changed.
    ///
    /// # Errors
    /// As `save`; also where a file of `lineage` was changed or is gone, where this folder holds one, and where the
    /// chain would be longer than [`MAX_CHAIN`](crate::MAX_CHAIN).
    pub fn save_changes<E: From<FolderError>>(
        &self,
        lineage: &Lineage,
        write: impl FnOnce(&mut Writer, &File) -> Result<(), E>,
    ) -> Result<Lineage, E> {
        let bases = lineage.check()?;
        // A new snapshot takes the place of the one that is there.
        if let Some(base) = bases.iter().find(|it| self.path.join(it.name()).exists()) {
            return Err(E::from(FolderError::HoldsBase {
                path: self.path.clone(),
                name: base.name().to_owned(),
            }));
        }
        self.save_on(lineage.clone(), write)
    }

    fn save_on<E: From<FolderError>>(
        &self,
        lineage: Lineage,
        write: impl FnOnce(&mut Writer, &File) -> Result<(), E>,
    ) -> Result<Lineage, E> {
        let bases: Vec<RamFile> = lineage.files().cloned().collect();
        let lock = self.lock()?;
        let suffix = format!("{:016x}", RandomState::new().hash_one(0));
        let ram_name = format!("{RAM_PREFIX}{suffix}");
        let (ram_path, new_path) = (
            self.path.join(&ram_name),
            self.path.join(format!("{TEMPORARY}{suffix}")),
        );
        let saved = self.write((&ram_path, &ram_name, &bases), &new_path, write);
        match &saved {
            Ok(_) => self.remove_others(&ram_name),
            Err(_) => {
                // What cannot be removed goes with the next snapshot.
                let _ = fs::remove_file(&ram_path);
                let _ = fs::remove_file(&new_path);
            }
        }
        drop(lock);
        saved.map(|ram| lineage.and(ram))
    }

    fn write<E: From<FolderError>>(
        &self,
        (ram_path, ram_name, bases): (&Path, &str, &[RamFile]),
        new_path: &Path,
        write: impl FnOnce(&mut Writer, &File) -> Result<(), E>,
    ) -> Result<(RamFile, Arc<File>), E> {
        let ram = create(ram_path)?;
        let mut writer = Writer::new();
        write(&mut writer, &ram)?;
        let named = writer.add(Section {
            id: RAM,
            kind: match bases {
                [] => RAM_KIND,
                _ => CHANGES_KIND,
            },
            version: 1,
            must_understand: true,
            contents: to_text(ram_name, bases).as_bytes(),
        });
        named.map_err(FolderError::Section)?;
        ram.sync_all().map_err(failed("write", ram_path))?;
        let metadata = ram.metadata().map_err(failed("examine", ram_path))?;
        let file = RamFile::of(ram_name, &metadata);
        let mut state = create(new_path)?;
        let write = failed("write", new_path);
        state.write_all(&writer.finish()).map_err(&write)?;
        state.sync_all().map_err(&write)?;
        let state = self.path.join(STATE);
        fs::rename(new_path, &state).map_err(failed("replace", &state))?;
        let folder = File::open(&self.path).and_then(|folder| folder.sync_all());
        folder.map_err(failed("write", &self.path))?;
        Ok((file, Arc::new(ram)))
    }

    /// Opens the snapshot.
    ///
    /// # Errors
    /// [`FolderError`]: there is none, or it is damaged.
    pub fn open(&self) -> Result<Snapshot, FolderError> {
        let path = self.path.join(STATE);
        let state = read_container(open(&path)?, &path)?;
        let reader = check_container(&state, &path)?;
        let mut sections = reader.sections().iter();
        let section = sections.find(|section| section.id == RAM);
        let named = section.and_then(|section| match (section.kind, section.version) {
            (RAM_KIND, 1) => Some((ram_name(section.contents)?, Vec::new())),
            (CHANGES_KIND, 1) => from_text(section.contents),
            _ => None,
        });
        let (name, bases) = named.ok_or_else(|| FolderError::NoRam { path: path.clone() })?;
        let ram = Ram {
            file: open(&self.path.join(name))?,
            name: name.to_owned(),
            bases,
        };
        let places = Places::of(&reader, RAM, state.len());
        Ok(Snapshot::new(state, places, ram))
    }

    /// Locks the folder, which is made if it is not there.
    fn lock(&self) -> Result<File, FolderError> {
        let made = DirBuilder::new().mode(0o700).create(&self.path);
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed("make", &self.path)(error));
            }
            _ => {}
        }
        // By its own entry: what is not a folder has none, and is not opened.
        let folder = File::open(self.path.join(".")).map_err(|error| match error.kind() {
            io::ErrorKind::NotADirectory => FolderError::NotAFolder {
                path: self.path.clone(),
            },
            _ => failed("open", &self.path)(error),
        })?;
        match folder.try_lock() {
            Ok(()) => Ok(folder),
            Err(TryLockError::WouldBlock) => Err(FolderError::Busy {
                path: self.path.clone(),
            }),
            // A file system without locks.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                Ok(folder)
            }
            Err(TryLockError::Error(error)) => Err(failed("lock", &self.path)(error)),
        }
    }

    /// Removes what older snapshots, and some that were cut short, have left. A machine that has one of their files
    /// mapped keeps it.
    fn remove_others(&self, ram: &str) {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let bytes = name.as_encoded_bytes();
            let is_other = ram_name(bytes).is_some_and(|name| name != ram)
                || bytes.starts_with(TEMPORARY.as_bytes());
            if is_other {
                // It takes up room, no more.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// The bytes of the container that `file` is.
pub(crate) fn read_container(file: File, path: &Path) -> Result<Vec<u8>, FolderError> {
    let mut state = Vec::new();
    let mut bounded = file.take(MAX_CONTAINER + 1);
    let read = bounded.read_to_end(&mut state);
    read.map_err(failed("read", path))?;
    match state.len() as u64 > MAX_CONTAINER {
        true => Err(FolderError::TooLong {
            path: path.to_owned(),
        }),
        false => Ok(state),
    }
}

/// All sections of the container `state`.
pub(crate) fn check_container<'a>(state: &'a [u8], path: &Path) -> Result<Reader<'a>, FolderError> {
    Reader::new(state).map_err(|source| FolderError::Damaged {
        path: path.to_owned(),
        source,
    })
}

pub(crate) fn create(path: &Path) -> Result<File, FolderError> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o600);
    options.open(path).map_err(failed("make", path))
}

/// Opens a regular file; opening a pipe would wait for its other end.
fn open(path: &Path) -> Result<File, FolderError> {
    let metadata = fs::symlink_metadata(path).map_err(failed("open", path))?;
    if !metadata.is_file() {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
        return Err(failed("open", path)(error));
    }
    File::open(path).map_err(failed("open", path))
}

pub(crate) fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::File {
        action,
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Temporary(PathBuf);

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn temporary(name: &str) -> (Temporary, Folder) {
        let name = format!("vmmkit-snapshot-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        (Temporary(path.clone()), Folder::new(path))
    }

    fn save(folder: &Folder, contents: &str) -> Result<Lineage, FolderError> {
        folder.save(|writer, mut ram| {
            ram.write_all(contents.as_bytes()).unwrap();
            let section = Section {
                id: "one",
                kind: "text",
                version: 1,
                must_understand: false,
                contents: contents.as_bytes(),
            };
            writer.add(section).map_err(FolderError::Section)
        })
    }

    fn held(folder: &Folder) -> (String, String) {
        let snapshot = folder.open().unwrap();
        let mut ram = String::new();
        snapshot.ram().read_to_string(&mut ram).unwrap();
        let sections = snapshot.reader();
        let contents = sections.sections()[0].contents.to_vec();
        (String::from_utf8(contents).unwrap(), ram)
    }

    fn files(folder: &Folder) -> usize {
        fs::read_dir(folder.path()).unwrap().count()
    }

    #[test]
    fn a_new_snapshot_takes_the_place_of_the_old_one() {
        let (_temporary, folder) = temporary("replaced");
        save(&folder, "old").unwrap();
        save(&folder, "new").unwrap();
        assert_eq!(held(&folder), ("new".into(), "new".into()));
        assert_eq!(files(&folder), 2);
    }

    #[test]
    fn one_that_fails_leaves_the_old_one_whole_and_nothing_else() {
        let (_temporary, folder) = temporary("failed");
        save(&folder, "old").unwrap();
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let answer = folder.save(|_, mut ram| {
            ram.write_all(b"half").unwrap();
            Err(failed("write", Path::new("ram"))(full()))
        });
        assert!(answer.is_err());
        assert_eq!(held(&folder), ("old".into(), "old".into()));
        assert_eq!(files(&folder), 2);
    }

    #[test]
    fn what_was_cut_short_is_not_seen_and_goes_with_the_next_one() {
        let (_temporary, folder) = temporary("cut");
        save(&folder, "old").unwrap();
        // As SIGKILL leaves them, before the rename.
        fs::write(folder.path().join("ram-0123456789abcdef"), "half").unwrap();
        fs::write(folder.path().join("machine.snapshot.new-0"), "half").unwrap();
        assert_eq!(held(&folder), ("old".into(), "old".into()));
        save(&folder, "new").unwrap();
        assert_eq!(held(&folder), ("new".into(), "new".into()));
        assert_eq!(files(&folder), 2);
    }

    #[test]
    fn two_do_not_save_into_one_folder_at_once() {
        let (_temporary, folder) = temporary("busy");
        let answer = folder.save(|_, _| {
            assert!(matches!(save(&folder, "x"), Err(FolderError::Busy { .. })));
            Ok::<_, FolderError>(())
        });
        answer.unwrap();
    }

    #[test]
    fn no_other_file_is_opened_whatever_the_snapshot_names() {
        for name in [
            "/etc/passwd",
            "ram-../../etc/passw",
            "machine.snapshot",
            "ram-",
        ] {
            assert_eq!(ram_name(name.as_bytes()), None);
        }
        let (_temporary, folder) = temporary("names");
        save(&folder, "x").unwrap();
        let ram = fs::read_dir(folder.path()).unwrap();
        let ram = ram.map(|it| it.unwrap().path());
        let ram = ram
            .filter(|path| path.to_str().unwrap().contains("/ram-"))
            .last();
        let ram = ram.unwrap();
        fs::remove_file(&ram).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &ram).unwrap();
        let error = folder.open().unwrap_err().to_string();
        assert!(error.contains("cannot open"), "{error}");
    }
}
