//! The RAM of a machine that is being saved: all of it, what changed, and most of it while the guest runs.

use std::fmt;
use std::fs::File;
use std::sync::Arc;

use parking_lot::Mutex;
use vmmkit_guest_memory::{ChangesError, GuestRam, PAGE_SIZE, PageRuns, PageSet};
use vmmkit_hypervisor::{DirtyLog, SaveVm};
use vmmkit_snapshot::{Section, Writer};

use crate::saved_ram::{KIND, VERSION};
use crate::{Extent, SaveRamError, SavedRam, SectionError};

/// Rounds after the first one: a guest that writes faster than an image is written is paused then.
const MAX_ROUNDS: u32 = 30;
/// So few pages are left to be written while the guest is paused: 256 KiB.
const FEW: u64 = 64;

/// A VM as its state is saved.
pub trait SavedVm: SaveVm + DirtyLog + Send + Sync {}

impl<V: SaveVm + DirtyLog + Send + Sync> SavedVm for V {}

/// A VM, with the log of what changed in its RAM.
pub struct LoggedVm {
    vm: Arc<dyn SavedVm>,
    log: ChangeLog,
}

impl LoggedVm {
    /// Of `vm`; nothing is logged yet.
    pub fn new(vm: Arc<dyn SavedVm>) -> Self {
        let log = ChangeLog::default();
        Self { vm, log }
    }

    /// Its state beside RAM and vCPUs.
    pub fn state(&self) -> &dyn SaveVm {
        &*self.vm
    }

    /// To write `ram`, which is the VM's.
    pub fn saver<'a>(&'a self, ram: &'a GuestRam) -> RamSaver<'a> {
        RamSaver {
            ram,
            vm: &*self.vm,
            log: &self.log,
        }
    }
}

impl fmt::Debug for LoggedVm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoggedVm")
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

/// The pages of RAM that were written since a point of time, if they are logged: by KVM for the guest, by guest-memory for
/// the VMM.
#[derive(Debug, Default)]
struct ChangeLog {
    state: Mutex<LogState>,
}

#[derive(Debug, Default)]
struct LogState {
    is_on: bool,
    /// Those since the last base, where there is one.
    since: Option<PageSet>,
}

/// Pages that were written to an image while the guest ran, for [`RamSaver::rest`].
#[derive(Debug)]
pub struct Ahead {
    extent: Extent,
    /// All that are in the image, of one that has not all.
    written: PageSet,
}

/// Writes the RAM of one machine.
#[derive(Clone, Copy)]
pub struct RamSaver<'a> {
    ram: &'a GuestRam,
    vm: &'a dyn DirtyLog,
    log: &'a ChangeLog,
}

impl fmt::Debug for RamSaver<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RamSaver")
            .field("log", self.log)
            .finish_non_exhaustive()
    }
}

impl RamSaver<'_> {
    /// Writes `extent`, whose guest does not run, to the empty file `image`; and, to `writer`, which pages changed: a
    /// section that a reader must understand.
    ///
    /// # Errors
    /// [`SaveRamError`]; the file is incomplete then.
    pub fn save(
        &self,
        extent: Extent,
        writer: &mut Writer,
        image: &File,
    ) -> Result<(), SaveRamError> {
        match extent {
            Extent::Whole => self.ram.write_image(image).map(drop)?,
            // The host knows which of its pages have changed since it was mapped, and so since now.
            Extent::Base if self.ram.is_mapped_from_images() => {
                self.ram.write_image(image).map(drop)?;
            }
            Extent::Base => {
                self.begin()?;
                self.ram.write_image(image)?;
                self.mark()?;
            }
            Extent::Changes => {
                let pages = self.changes()?;
                add_pages(writer, &pages)?;
                self.ram.write_changes(image, &pages)?;
            }
        }
        Ok(())
    }

    /// Writes the pages that changed, of a guest that does not run, over what `image` has: those since the last
    /// [base](Extent::Base) or the last call of this, or since RAM was mapped from images. Where nobody knows which they are, it is all of
    /// RAM. Pages of zeros are written too, so that no page that is written is a hole; an image of another length is begun anew, and
    /// what is not written of it is one. With `log`, the next call knows what has changed since this one.
    ///
    /// # Errors
    /// [`SaveRamError`]; the file may have a part of the pages then, and the next call writes them again.
    pub fn save_over(&self, image: &File, log: bool) -> Result<(), SaveRamError> {
        let size = self.ram.size();
        if image.metadata()?.len() != size {
            image.set_len(0)?;
            image.set_len(size)?;
        }
        let pages = match self.changes() {
            Err(SaveRamError::Changes(ChangesError::NotMapped)) => all_of(self.ram),
            pages => pages?,
        };
        self.ram.overwrite(image, &pages)?;
        let mut state = self.log.state.lock();
        match &mut state.since {
            // What is written from now on is in the log still.
            Some(since) => *since = PageSet::default(),
            None if log => {
                drop(state);
                self.log_changes()?;
            }
            None => {}
        }
        Ok(())
    }

    /// Writes `extent` to the empty file `image` while the guest runs, and again what it writes meanwhile, until little is
    /// left or it writes as fast: [`rest`](Self::rest) is to follow.
    ///
    /// # Errors
    /// [`SaveRamError`]; the file is incomplete then.
    pub fn ahead(&self, extent: Extent, image: &File) -> Result<Ahead, SaveRamError> {
        let ahead = self.rounds(extent, image);
        ahead.inspect_err(|_| self.end_unless_marked())
    }

    fn rounds(&self, extent: Extent, image: &File) -> Result<Ahead, SaveRamError> {
        self.begin()?;
        let mut written = PageSet::default();
        if extent == Extent::Changes {
            let pages = self.changes()?;
            self.ram.write_changes(image, &pages)?;
            written.insert_runs(&pages);
        } else {
            self.take()?;
            self.ram.write_image(image)?;
        }
        let mut last = u64::MAX;
        for _ in 0..MAX_ROUNDS {
            let pages = self.take()?;
            self.ram.overwrite(image, &pages.runs())?;
            written.insert_all(&pages);
            let count = pages.len();
            if count <= FEW || count >= last {
                break;
            }
            last = count;
        }
        Ok(Ahead { extent, written })
    }

    /// Writes the rest of what is `ahead` in `image`, now that the guest does not run; as [`save`](Self::save) then.
    ///
    /// # Errors
    /// [`SaveRamError`]; the file is incomplete then.
    pub fn rest(
        &self,
        ahead: Ahead,
        writer: &mut Writer,
        image: &File,
    ) -> Result<(), SaveRamError> {
        let rest = self.write_rest(ahead, writer, image);
        self.end_unless_marked();
        rest
    }

    fn write_rest(
        &self,
        ahead: Ahead,
        writer: &mut Writer,
        image: &File,
    ) -> Result<(), SaveRamError> {
        let Ahead {
            extent,
            mut written,
        } = ahead;
        let pages = self.take()?;
        self.ram.overwrite(image, &pages.runs())?;
        written.insert_all(&pages);
        match extent {
            Extent::Whole => {}
            Extent::Base if self.ram.is_mapped_from_images() => {}
            Extent::Base => self.mark()?,
            Extent::Changes => add_pages(writer, &written.runs())?,
        }
        Ok(())
    }

    /// Logs the guest's writes, and returns all pages: the first of those to send to where the guest is to go on. Those
    /// that were written since are [`written`](Self::written), round by round, and
    /// [`end_unless_marked`](Self::end_unless_marked) is to follow.
    ///
    /// # Errors
    /// [`SaveRamError`].
    pub fn log_all(&self) -> Result<PageRuns, SaveRamError> {
        self.begin()?;
        self.take().inspect_err(|_| self.end_unless_marked())?;
        Ok(all_of(self.ram))
    }

    /// The pages that were written since the last call, or since [`log_all`](Self::log_all).
    ///
    /// # Errors
    /// [`SaveRamError`]: nobody knows which they are.
    pub fn written(&self) -> Result<PageSet, SaveRamError> {
        self.take()
    }

    /// The log is not needed any more, but for that since a base: what was saved ahead has its rest, or is given up.
    pub fn end_unless_marked(&self) {
        let mut state = self.log.state.lock();
        if state.is_on && state.since.is_none() {
            // It costs time, no more.
            state.is_on = self.vm.log_dirty_pages(false).is_err();
        }
    }

    /// Logs what changes from now on, of a guest that does not run: [`save_over`](Self::save_over) knows it then. RAM that is
    /// mapped from images needs no log.
    ///
    /// # Errors
    /// [`SaveRamError`].
    pub fn log_changes(&self) -> Result<(), SaveRamError> {
        if self.ram.is_mapped_from_images() {
            return Ok(());
        }
        self.begin()?;
        self.mark()
    }

    /// Gives up the changes since the last base, or since the last [`save_over`](Self::save_over): the file that they would be on top
    /// of did not get its place.
    pub fn forget(&self) {
        self.log.state.lock().since = None;
        self.end_unless_marked();
    }

    /// Logs from now on.
    fn begin(&self) -> Result<(), SaveRamError> {
        let mut state = self.log.state.lock();
        if state.is_on {
            return Ok(());
        }
        if !self.ram.log_writes() {
            return Err(SaveRamError::NotLogged);
        }
        self.vm.log_dirty_pages(true)?;
        state.is_on = true;
        Ok(())
    }

    /// Pages that are logged from now on are those that changed since this point of time.
    fn mark(&self) -> Result<(), SaveRamError> {
        let mut state = self.log.state.lock();
        state.since = None;
        self.ram
            .take_written(|slot| self.vm.take_dirty_pages(slot))?;
        state.since = Some(PageSet::default());
        Ok(())
    }

    /// The pages that were written since the last call.
    fn take(&self) -> Result<PageSet, SaveRamError> {
        let mut state = self.log.state.lock();
        // Without an answer nobody knows what has changed since.
        let since = state.since.take();
        let pages = self
            .ram
            .take_written(|slot| self.vm.take_dirty_pages(slot))?;
        state.since = since.map(|mut since| {
            since.insert_all(&pages);
            since
        });
        Ok(pages)
    }

    /// The pages that changed since the last base; without one, those that differ from the images that RAM is mapped from.
    fn changes(&self) -> Result<PageRuns, SaveRamError> {
        if self.log.state.lock().since.is_some() {
            self.take()?;
        }
        match &self.log.state.lock().since {
            Some(since) => Ok(since.runs()),
            None => Ok(self.ram.changed_pages()?),
        }
    }
}

fn all_of(ram: &GuestRam) -> PageRuns {
    let mut all = PageRuns::default();
    all.add(0, ram.size() / PAGE_SIZE);
    all
}

/// Adds the section that says which pages of RAM an image has.
fn add_pages(writer: &mut Writer, pages: &PageRuns) -> Result<(), SaveRamError> {
    let section = Section {
        id: SavedRam::PAGES,
        kind: KIND,
        version: VERSION,
        must_understand: true,
        contents: &pages.to_bytes(),
    };
    Ok(writer.add(section).map_err(SectionError::from)?)
}
