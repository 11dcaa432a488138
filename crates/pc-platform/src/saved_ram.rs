//! The RAM of a saved machine: the files that it is in, and the section that says which pages of it they have.

use std::fs::File;
use std::io;

use thiserror::Error;
use vmmkit_device_bus::{StateError, StateReason};
use vmmkit_guest_memory::{
    ChangesError, GuestRam, ImageError, PageRuns, PageRunsError, RamConfig, RamImage,
};
use vmmkit_snapshot::{Chain, Reader};

use crate::SectionError;

pub(crate) const KIND: &str = "page-runs";
pub(crate) const VERSION: u32 = 1;

/// The pages of RAM that are saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All.
    Whole,
    /// All, and from then on it is logged which of them change.
    Base,
    /// Those that changed since the last [base](Self::Base); without one, those that differ from the images that RAM
    /// is mapped from.
    Changes,
}

/// Why RAM cannot be saved.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SaveRamError {
    /// It is not known which pages have changed.
    #[error("the changes of memory are not known")]
    Changes(#[from] ChangesError),
    /// The memory is an embedder's: nobody logs all writes to it.
    #[error("the writes to this memory cannot be logged")]
    NotLogged,
    /// The hypervisor does not log the guest's writes.
    #[error("the hypervisor cannot log the writes of the guest")]
    Log(#[from] vmmkit_hypervisor::Error),
    /// The section of the changed pages cannot be written.
    #[error(transparent)]
    Section(#[from] SectionError),
    /// The file cannot be written.
    #[error("memory image")]
    Write(#[from] io::Error),
}

/// The RAM of a saved machine: a file with all of it, and files with the pages that changed since.
#[derive(Debug)]
pub struct SavedRam {
    source: Source,
    /// The last of its files is one of changes.
    is_changed: bool,
}

#[derive(Debug)]
enum Source {
    Image(RamImage),
    Made(GuestRam),
}

/// Why the files of a saved machine are not its RAM.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SavedRamError {
    /// The section of the changed pages is absent, or there and the file is not one of changes.
    #[error(transparent)]
    State(#[from] StateError),
    /// That section does not tell of pages of this RAM.
    #[error("{section}")]
    Pages {
        /// The section.
        section: &'static str,
        /// The reason.
        #[source]
        source: PageRunsError,
    },
    /// A file cannot be the RAM, or the RAM cannot be had.
    #[error("memory image")]
    Image(#[from] ImageError),
}

impl From<File> for SavedRam {
    fn from(full: File) -> Self {
        Self {
            source: Source::Image(full.into()),
            is_changed: false,
        }
    }
}

impl From<GuestRam> for SavedRam {
    /// RAM that has the contents, or gets them as it is touched ([`GuestRam::by_faults`]); for one machine alone. It is as the
    /// configuration of the machine says, or the machine is refused.
    fn from(ram: GuestRam) -> Self {
        Self {
            source: Source::Made(ram),
            is_changed: false,
        }
    }
}

impl SavedRam {
    /// All of the RAM, in a memory file that is for one machine alone: see [`RamImage::own`].
    pub fn own(full: File) -> Self {
        Self {
            source: Source::Image(RamImage::own(full)),
            is_changed: false,
        }
    }

    /// The section that a snapshot of changes has: which pages they are.
    pub const PAGES: &str = "ram-pages";

    /// The RAM of the last snapshot of `chain`.
    ///
    /// # Errors
    /// [`SavedRamError`]: a snapshot in it does not say which pages it has, or the host has no descriptor left.
    pub fn of(chain: &Chain) -> Result<Self, SavedRamError> {
        let mut so_far: Option<Self> = None;
        for snapshot in chain.iter() {
            let file = snapshot.ram().try_clone().map_err(ImageError::Read)?;
            so_far = Some(match so_far {
                None => Self::from(file),
                Some(saved) => saved.changed(file, snapshot.reader())?,
            });
        }
        so_far.ok_or_else(|| StateError::whole(SavedRam::PAGES, StateReason::Absent).into())
    }

    /// The same, and then the pages that were written to `image`, of which `snapshot` tells.
    ///
    /// # Errors
    /// [`SavedRamError`]: it does not tell of them.
    pub fn changed(self, image: File, mut snapshot: Reader<'_>) -> Result<Self, SavedRamError> {
        let section = snapshot
            .take(SavedRam::PAGES)
            .filter(|section| (section.kind, section.version) == (KIND, VERSION));
        let section =
            section.ok_or_else(|| StateError::whole(SavedRam::PAGES, StateReason::Absent))?;
        let length = image.metadata().map_err(ImageError::Read)?.len();
        let pages = PageRuns::from_bytes(section.contents, length);
        let pages = pages.map_err(|source| SavedRamError::Pages {
            section: SavedRam::PAGES,
            source,
        })?;
        let Source::Image(below) = self.source else {
            let reason = StateReason::Contradicts("memory that is there");
            return Err(StateError::whole(SavedRam::PAGES, reason).into());
        };
        Ok(Self {
            source: Source::Image(below.changed(image, pages)),
            is_changed: true,
        })
    }

    /// RAM as `config` says, with these contents: those of `snapshot`, whose section of the changed pages is taken.
    ///
    /// # Errors
    /// [`SavedRamError`]: `snapshot` has such a section and the files are not changes, or the reverse; as
    /// [`GuestRam::from_image`].
    pub fn map(
        &self,
        config: &RamConfig,
        snapshot: &mut Reader<'_>,
    ) -> Result<GuestRam, SavedRamError> {
        if self.is_changed != snapshot.take(SavedRam::PAGES).is_some() {
            let reason = StateReason::Contradicts("the files with RAM");
            return Err(StateError::whole(SavedRam::PAGES, reason).into());
        }
        let ram = match &self.source {
            Source::Image(image) => return Ok(GuestRam::from_image(config, image)?),
            Source::Made(ram) => ram,
        };
        match (ram.size(), config.size.bytes()) {
            (length, size) if length == size => Ok(ram.clone()),
            (length, size) => Err(ImageError::Size { length, size }.into()),
        }
    }
}
