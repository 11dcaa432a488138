//! An image of RAM, and images of the pages that changed since, one on top of the other.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap};

use crate::{GuestAddress, GuestRam, ImageError, PAGE_SIZE, PageRun, PageRuns};

/// Bytes copied at once.
pub(crate) const CHUNK: usize = 1 << 20;
/// The least pages of a run that is mapped: fewer are copied in less time than faults on them take.
const MIN_MAPPED: u64 = 16;
/// The largest number of runs that are mapped: the host gives a process 65,530 mappings (vm.max_map_count).
const MAX_MAPPED: usize = 4096;

/// An image of all of a guest's RAM, and the pages that changed since.
#[derive(Clone, Debug)]
pub struct RamImage {
    pub(crate) full: Arc<File>,
    pub(crate) changes: Vec<(Arc<File>, PageRuns)>,
    /// Nobody else needs the image as it is.
    pub(crate) is_own: bool,
}

/// Bytes of RAM that lie in one region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) address: GuestAddress,
    /// In an image.
    pub(crate) offset: u64,
    pub(crate) length: usize,
}

impl From<File> for RamImage {
    fn from(full: File) -> Self {
        Self {
            full: Arc::new(full),
            changes: Vec::new(),
            is_own: false,
        }
    }
}

impl RamImage {
    /// A memory file (memfd_create(2)) with all of RAM that is for one machine alone: what the guest writes is written to
    /// it, and the host has no page twice.
    pub fn own(full: File) -> Self {
        Self {
            is_own: true,
            ..full.into()
        }
    }

    /// The same, and then the `pages` as [`write_changes`](GuestRam::write_changes) wrote them to `image`.
    #[must_use]
    pub fn changed(mut self, image: File, pages: PageRuns) -> Self {
        self.changes.push((Arc::new(image), pages));
        self
    }

    /// Checks that all can be images of RAM of `size` bytes.
    pub(crate) fn check(&self, size: u64) -> Result<(), ImageError> {
        let changes = self.changes.iter().map(|(file, _)| file);
        for file in std::iter::once(&self.full).chain(changes) {
            let metadata = file.metadata().map_err(ImageError::Read)?;
            if !metadata.is_file() {
                return Err(ImageError::NotAFile);
            }
            let length = metadata.len();
            if length != size {
                return Err(ImageError::Size { length, size });
            }
        }
        let last = |(_, pages): &(Arc<File>, PageRuns)| pages.as_slice().last().map(PageRun::end);
        match self.changes.iter().filter_map(last).max() {
            Some(end) if end > size / PAGE_SIZE => Err(ImageError::Outside { end, size }),
            _ => Ok(()),
        }
    }

    /// The least pages of runs that are mapped, so that they are not too many.
    fn least_mapped(&self) -> u64 {
        let runs = || self.changes.iter().flat_map(|(_, pages)| pages.as_slice());
        let mut least = MIN_MAPPED;
        while runs().filter(|run| run.pages >= least).count() > MAX_MAPPED {
            least = least.saturating_mul(2);
        }
        least
    }
}

impl GuestRam {
    /// Puts the changes of `image` over the full image that this is a private mapping of.
    pub(crate) fn map_changes(&self, image: &RamImage) -> io::Result<()> {
        let least = image.least_mapped();
        for (file, pages) in &image.changes {
            for run in pages.as_slice() {
                // A host that gives no more mappings gets a copy.
                if run.pages < least || self.map_run(file, *run).is_err() {
                    self.copy_run(file, *run)?;
                }
            }
        }
        Ok(())
    }

    fn map_run(&self, file: &File, run: PageRun) -> io::Result<()> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        for piece in self.whole_pieces(run) {
            let length = piece.length;
            let (mapping, offset) = self
                .range(piece.address, length)
                .map_err(io::Error::other)?;
            let start = mapping.as_ptr().wrapping_add(offset);
            // SAFETY: `range` has checked that the bytes lie in a mapping of guest RAM, which its owner unmaps as a
            // range of addresses, whatever is mapped there. No one else has the RAM yet; it is never borrowed as a
            // reference that relies on its contents. Offsets of runs are whole pages.
            unsafe { mmap(start.cast(), length, access, flags, file, piece.offset) }?;
            // As for the mapping around it; a refusal costs a larger core dump, no more.
            // SAFETY: as above; the advice changes neither the contents nor the validity of the pages.
            let _ = unsafe { madvise(start.cast(), length, Advice::LinuxDontDump) };
        }
        Ok(())
    }

    /// Copies the pages of `run` from `file`.
    pub(crate) fn copy_run(&self, file: &File, run: PageRun) -> io::Result<()> {
        let mut bytes = Vec::new();
        for piece in self.pieces(run) {
            bytes.resize(piece.length, 0);
            file.read_exact_at(&mut bytes, piece.offset)?;
            // Pages of zeros cost nothing, where many lie together.
            let copied = match is_zero(&bytes) {
                true => self.fill(piece.address, piece.length, 0),
                false => self.write_bytes(piece.address, &bytes),
            };
            copied.map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// `run` in pieces of at most [`CHUNK`] bytes.
    pub(crate) fn pieces(&self, run: PageRun) -> impl Iterator<Item = Piece> {
        self.whole_pieces(run).into_iter().flat_map(|whole| {
            (0..whole.length).step_by(CHUNK).map(move |at| Piece {
                address: GuestAddress(whole.address.0 + at as u64),
                offset: whole.offset + at as u64,
                length: (whole.length - at).min(CHUNK),
            })
        })
    }

    /// `run` in a piece for each region that it is in.
    fn whole_pieces(&self, run: PageRun) -> Vec<Piece> {
        let byte = |page: u64| page.saturating_mul(PAGE_SIZE);
        let (start, end) = (byte(run.first), byte(run.end()));
        let (mut pieces, mut region_start) = (Vec::new(), 0);
        for region in self.regions() {
            let region_end = region_start + region.size;
            let (from, to) = (start.max(region_start), end.min(region_end));
            if from < to {
                pieces.push(Piece {
                    address: GuestAddress(region.guest_address.0 + (from - region_start)),
                    offset: from,
                    // A mapping of this process.
                    length: (to - from) as usize,
                });
            }
            region_start = region_end;
        }
        pieces
    }
}

/// Whether `bytes` are all zeros.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; PAGE_SIZE as usize] = [0; PAGE_SIZE as usize];
    let mut pages = bytes.chunks(ZEROS.len());
    pages.all(|page| ZEROS.get(..page.len()) == Some(page))
}

#[cfg(test)]
mod tests;
