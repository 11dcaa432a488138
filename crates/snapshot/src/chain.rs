//! A snapshot of changes with all that it builds on.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::lineage::RamFile;
use crate::{Folder, FolderError, Lineage, MAX_CONTAINER, Snapshot};

/// The most entries beside a folder that are looked at for what it builds on.
const MAX_BESIDE: usize = 4096;

/// A snapshot, and those that it builds on, all of them open: each but the first holds the pages that differ from
/// the one before it.
#[derive(Debug)]
pub struct Chain {
    snapshots: Vec<Link>,
    top: Snapshot,
}

/// A snapshot that others build on.
#[derive(Debug)]
pub struct Link {
    /// Where it was found.
    pub folder: PathBuf,
    /// The snapshot.
    pub snapshot: Snapshot,
}

impl Folder {
    /// Opens the snapshot, and those that it builds on: they are sought in `named` and the folders in it, and beside
    /// this one in folders of the same owner. A folder holds one if it has the file with RAM of that name, length and
    /// time; what the folder is called says nothing.
    ///
    /// # Errors
    /// [`FolderError`]: there is none, or it is damaged; what it builds on is not there or was changed; all containers
    /// together are longer than [`MAX_CONTAINER`].
    pub fn open_chain(&self, named: Option<&Path>) -> Result<Chain, FolderError> {
        let top = self.open()?;
        let mut snapshots: Vec<Link> = Vec::new();
        let places = match top.bases() {
            [] => Vec::new(),
            _ => self.places(named),
        };
        let mut length = top.length();
        for (number, base) in top.bases().iter().enumerate() {
            let place = places.iter().find(|it| it.join(base.name()).exists());
            let Some(place) = place else {
                return Err(FolderError::NoBase {
                    path: self.path().to_owned(),
                    name: base.name().to_owned(),
                });
            };
            let link = Link {
                folder: place.clone(),
                snapshot: Folder::new(place).open()?,
            };
            let metadata = link.snapshot.ram().metadata();
            let is_it = link.snapshot.name() == base.name()
                && metadata.is_ok_and(|it| base.is(&it))
                && top.bases().get(..number) == Some(link.snapshot.bases());
            if !is_it {
                return Err(FolderError::BaseChanged {
                    name: place.join(base.name()).display().to_string(),
                });
            }
            length += link.snapshot.length();
            if length as u64 > MAX_CONTAINER {
                return Err(FolderError::TooLong { path: link.folder });
            }
            snapshots.push(link);
        }
        Ok(Chain { snapshots, top })
    }

    /// Where what it builds on may be.
    fn places(&self, named: Option<&Path>) -> Vec<PathBuf> {
        let own = fs::canonicalize(self.path()).unwrap_or_else(|_| self.path().to_owned());
        let owner = own.metadata().map(|it| it.uid()).ok();
        let is_own = |path: &PathBuf| {
            let metadata = fs::symlink_metadata(path);
            metadata.is_ok_and(|it| it.is_dir() && Some(it.uid()) == owner)
        };
        let beside = own.parent().into_iter().flat_map(folders_in).filter(is_own);
        let named = named.into_iter();
        let named = named.flat_map(|it| std::iter::once(it.to_owned()).chain(folders_in(it)));
        named.chain(beside).collect()
    }
}

fn folders_in(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.take(MAX_BESIDE).flatten().map(|entry| entry.path())
}

impl Chain {
    /// The snapshots that the last one builds on, the first of which holds all of RAM.
    pub fn bases(&self) -> &[Link] {
        &self.snapshots
    }

    /// The snapshot itself: its state is the machine's.
    pub fn top(&self) -> &Snapshot {
        &self.top
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Snapshot> {
        let bases = self.snapshots.iter().map(|link| &link.snapshot);
        bases.chain([&self.top])
    }

    /// Their files with RAM.
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub fn lineage(&self) -> Result<Lineage, FolderError> {
        let file = |snapshot: &Snapshot| {
            let file = snapshot.ram().try_clone()?;
            let metadata = file.metadata()?;
            Ok((RamFile::of(snapshot.name(), &metadata), Arc::new(file)))
        };
        let files = self.iter().map(file).collect::<Result<_, _>>();
        let files = files.map_err(|source| FolderError::File {
            action: "examine",
            path: Path::new(self.top.name()).to_owned(),
            source,
        })?;
        Ok(Lineage::of(files))
    }
}
