//! A snapshot in two files whose names are its user's: the container, and the RAM.

use std::collections::hash_map::RandomState;
use std::fs::{self, File, OpenOptions};
use std::hash::BuildHasher;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::folder::{check_container, create, failed, read_container};
use crate::opened::{Places, Ram};
use crate::{FolderError, Snapshot, Writer};

/// The prefix of a file that is being written beside the one that it becomes.
const TEMPORARY: &str = "snapshot.new-";

/// A snapshot in two files at any two paths: the container, and the RAM whole, as a VMM without chains of snapshots keeps it.
/// Nothing in the container names the file with the RAM: whoever opens the pair says which belong together, and may have
/// changed the RAM, or put the changes of several snapshots together, in between.
///
/// A container is there only beside RAM that was written with it, whatever happens meanwhile: an older one is removed
/// before the RAM is touched, and the new one gets its name last.
#[derive(Clone, Debug)]
pub struct Pair {
    state: PathBuf,
    ram: PathBuf,
}

impl Pair {
    /// The container at `state`, and the RAM at `ram`. Neither need exist before something is saved.
    pub fn new(state: impl Into<PathBuf>, ram: impl Into<PathBuf>) -> Self {
        Self {
            state: state.into(),
            ram: ram.into(),
        }
    }

    /// Saves what `write` writes: sections, and all of the RAM to an empty file. Files that are there give their place to
    /// new ones (mode 0600), through symbolic links, so that a machine whose RAM is mapped from the old one keeps it. All of it is on
    /// the disk when this returns.
    ///
    /// # Errors
    /// The result of `write`, or [`FolderError`]; the files are what they were then, unless it was a rename that failed.
    pub fn save<E: From<FolderError>>(
        &self,
        write: impl FnOnce(&mut Writer, &File) -> Result<(), E>,
    ) -> Result<(), E> {
        let (state, ram) = (self.state_place()?, place(&self.ram)?);
        let new_ram = New::beside(&ram)?;
        let mut writer = Writer::new();
        write(&mut writer, &new_ram.file)?;
        new_ram.sync()?;
        let new_state = written(&state, writer)?;
        remove(&state)?;
        new_ram.take_place()?;
        Ok(new_state.take_place()?)
    }

    /// As [`save`](Self::save), but over what the file with RAM has: `write` opens it by [`RamOver::open`] once nothing
    /// but the writing of pages can fail.
    ///
    /// # Errors
    /// As `save`; once the RAM is open there is no container any more, for the RAM may be neither the old nor the new.
    pub fn save_over<E: From<FolderError>>(
        &self,
        write: impl FnOnce(&mut Writer, &RamOver<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let state = self.state_place()?;
        let over = RamOver {
            ram: &self.ram,
            state: &state,
        };
        let mut writer = Writer::new();
        write(&mut writer, &over)?;
        let ram = File::open(&self.ram).map_err(failed("open", &self.ram))?;
        ram.sync_all().map_err(failed("write", &self.ram))?;
        let new_state = written(&state, writer)?;
        Ok(new_state.take_place()?)
    }

    /// Opens the snapshot.
    ///
    /// # Errors
    /// [`FolderError`]: there is none, or the container is damaged.
    pub fn open(&self) -> Result<Snapshot, FolderError> {
        // By way of symbolic links, which are the user's own.
        let state = read_container(open(&self.state)?, &self.state)?;
        let places = Places::of(&check_container(&state, &self.state)?, "", state.len());
        let ram = Ram {
            file: open(&self.ram)?,
            name: self.ram.display().to_string(),
            bases: Vec::new(),
        };
        Ok(Snapshot::new(state, places, ram))
    }

    /// Where the container goes: never where the RAM goes.
    fn state_place(&self) -> Result<PathBuf, FolderError> {
        let state = place(&self.state)?;
        match place(&self.ram)? == state {
            false => Ok(state),
            true => Err(refused(
                "write",
                &self.state,
                "it is to be the file with the RAM, too",
            )),
        }
    }
}

/// The file with RAM of a [`Pair`] that is saved [over](Pair::save_over) what it has.
#[derive(Debug)]
pub struct RamOver<'a> {
    ram: &'a Path,
    state: &'a Path,
}

impl RamOver<'_> {
    /// Opens the file, or makes it (mode 0600). The container that is there, which goes with what the file holds now, is
    /// removed.
    ///
    /// # Errors
    /// [`FolderError::File`].
    pub fn open(&self) -> Result<File, FolderError> {
        let place = place(self.ram)?;
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(0o600).open(&place);
        let file = file.map_err(failed("open", self.ram))?;
        remove(self.state)?;
        Ok(file)
    }
}

/// A file that is being written, removed unless it takes its place.
struct New {
    file: File,
    path: PathBuf,
    place: PathBuf,
}

impl New {
    fn beside(place: &Path) -> Result<Self, FolderError> {
        let suffix = RandomState::new().hash_one(0);
        let path = place.with_file_name(format!("{TEMPORARY}{suffix:016x}"));
        Ok(Self {
            file: create(&path)?,
            path,
            place: place.to_owned(),
        })
    }

    fn sync(&self) -> Result<(), FolderError> {
        self.file.sync_all().map_err(failed("write", &self.place))
    }

    fn take_place(self) -> Result<(), FolderError> {
        fs::rename(&self.path, &self.place).map_err(failed("replace", &self.place))?;
        let folder = self.place.parent().unwrap_or(Path::new("/"));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(failed("write", folder))
    }
}

impl Drop for New {
    fn drop(&mut self) {
        // Once it has its place, there is nothing of this name.
        let _ = fs::remove_file(&self.path);
    }
}

/// The container of `writer`, which is to be at `state`.
fn written(state: &Path, writer: Writer) -> Result<New, FolderError> {
    let mut new = New::beside(state)?;
    let written = new.file.write_all(&writer.finish());
    written.map_err(failed("write", state))?;
    new.sync()?;
    Ok(new)
}

/// The file that `path` is, or would be, by way of symbolic links. What is there must be a regular file.
fn place(path: &Path) -> Result<PathBuf, FolderError> {
    match fs::canonicalize(path) {
        Ok(found) => check_regular(&found).map(|()| found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = path.file_name();
            let name = name.ok_or_else(|| refused("make", path, "it names no file"))?;
            let folder = match path.parent() {
                Some(folder) if folder != Path::new("") => folder,
                _ => Path::new("."),
            };
            let folder = fs::canonicalize(folder).map_err(failed("make", path))?;
            Ok(folder.join(name))
        }
        Err(error) => Err(failed("open", path)(error)),
    }
}

fn open(path: &Path) -> Result<File, FolderError> {
    check_regular(path)?;
    File::open(path).map_err(failed("open", path))
}

/// Opening a pipe would wait for its other end.
fn check_regular(path: &Path) -> Result<(), FolderError> {
    let metadata = fs::metadata(path).map_err(failed("open", path))?;
    match metadata.is_file() {
        true => Ok(()),
        false => Err(refused("open", path, "not a regular file")),
    }
}

fn remove(path: &Path) -> Result<(), FolderError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("replace", path)(error))
        }
        _ => Ok(()),
    }
}

fn refused(action: &'static str, path: &Path, reason: &str) -> FolderError {
    failed(action, path)(io::Error::new(io::ErrorKind::InvalidInput, reason))
}
