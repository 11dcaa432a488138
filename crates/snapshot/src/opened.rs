//! A snapshot that is open.

use std::fs::File;
use std::ops::Range;

use crate::{RamFile, Reader, Section};

/// A snapshot that is open. All of its container was checked as it was opened.
#[derive(Debug)]
pub struct Snapshot {
    state: Vec<u8>,
    places: Vec<Place>,
    ram: Ram,
}

/// The RAM of a snapshot.
#[derive(Debug)]
pub(crate) struct Ram {
    pub(crate) file: File,
    /// The name of the file.
    pub(crate) name: String,
    /// The files that it builds on.
    pub(crate) bases: Vec<RamFile>,
}

/// A section without its contents, and where those are.
#[derive(Debug)]
struct Place {
    id: String,
    kind: String,
    version: u32,
    must_understand: bool,
    contents: Range<usize>,
}

impl Snapshot {
    /// The snapshot whose container `state` has sections at `places`, and its `ram`.
    pub(crate) fn new(state: Vec<u8>, places: Places, ram: Ram) -> Self {
        let Places(places) = places;
        Self { state, places, ram }
    }

    /// Its sections.
    pub fn reader(&self) -> Reader<'_> {
        let sections = self.places.iter().map(|place| Section {
            id: &place.id,
            kind: &place.kind,
            version: place.version,
            must_understand: place.must_understand,
            // The places are those of this container.
            contents: self.state.get(place.contents.clone()).unwrap_or_default(),
        });
        Reader::of(sections.collect())
    }

    /// Bytes of its container.
    pub(crate) fn length(&self) -> usize {
        self.state.len()
    }

    /// Its RAM: all of it, or the pages that differ from those of its [`bases`](Self::bases).
    pub fn ram(&self) -> &File {
        &self.ram.file
    }

    /// The name of the file with its RAM.
    pub fn name(&self) -> &str {
        &self.ram.name
    }

    /// The files with RAM that it builds on, first the one with all of it; none where it holds all of RAM itself.
    /// [`Folder::open_chain`](crate::Folder::open_chain) opens them too.
    pub fn bases(&self) -> &[RamFile] {
        &self.ram.bases
    }
}

/// The places of the sections of a container.
#[derive(Debug)]
pub(crate) struct Places(Vec<Place>);

impl Places {
    /// Those of all sections of `reader`, which nobody has taken from, but for `omitted`; the container has `length` bytes.
    pub(crate) fn of(reader: &Reader<'_>, omitted: &str, length: usize) -> Self {
        let sections = reader.sections();
        // Contents lie one behind the other, and nothing is behind them.
        let total: usize = sections.iter().map(|section| section.contents.len()).sum();
        let mut start = length.saturating_sub(total);
        let place = |section: &Section<'_>| {
            let contents = start..start + section.contents.len();
            start = contents.end;
            Place {
                id: section.id.to_owned(),
                kind: section.kind.to_owned(),
                version: section.version,
                must_understand: section.must_understand,
                contents,
            }
        };
        let places = sections.iter().map(place);
        Self(places.filter(|place| place.id != omitted).collect())
    }
}
