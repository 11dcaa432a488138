//! The log of the VMM's own writes to one region.

use std::fmt;
use std::sync::{Arc, OnceLock};

use vm_memory::MmapRegion;
use vm_memory::bitmap::{AtomicBitmap, Bitmap, NewBitmap, RefSlice, WithBitmapSlice};

/// The pages of a region that the VMM itself wrote, as vm-memory's regions keep it beside them: nothing, a bit
/// for each page, or the log of the memory that an embedder [gave](crate::GuestRam::from_memory).
#[derive(Default)]
pub struct WriteLog(Kind);

#[derive(Default)]
enum Kind {
    /// No log is kept.
    #[default]
    Off,
    /// From the start, or from when it is first [wanted](WriteLog::begin).
    Pages(Pages),
    /// The region whose memory this is. It stays mapped for as long as this is held.
    Of(Arc<dyn Lent>),
}

/// The pages of a region of `length` bytes, once they are logged.
struct Pages {
    length: usize,
    log: OnceLock<AtomicBitmap>,
}

impl Pages {
    fn begin(&self) {
        self.log.get_or_init(|| AtomicBitmap::with_len(self.length));
    }
}

/// A region of somebody else's memory, with whatever log it keeps.
trait Lent: Send + Sync {
    fn mark_dirty(&self, offset: usize, length: usize);
    fn dirty_at(&self, offset: usize) -> bool;
}

impl<B: Bitmap + Send + Sync> Lent for MmapRegion<B> {
    fn mark_dirty(&self, offset: usize, length: usize) {
        self.bitmap().mark_dirty(offset, length);
    }

    fn dirty_at(&self, offset: usize) -> bool {
        self.bitmap().dirty_at(offset)
    }
}

impl WriteLog {
    /// One of `length` bytes of RAM, which is kept from now on if it is wanted.
    pub(crate) fn new(is_wanted: bool, length: usize) -> Self {
        let log = OnceLock::new();
        let pages = Pages { length, log };
        if is_wanted {
            pages.begin();
        }
        Self(Kind::Pages(pages))
    }

    /// Logs from now on; `false` where that is not this log's to do.
    pub(crate) fn begin(&self) -> bool {
        match &self.0 {
            Kind::Pages(pages) => pages.begin(),
            Kind::Off | Kind::Of(_) => return false,
        }
        true
    }

    /// That of `region`, which is held.
    pub(crate) fn of<B: Bitmap + Send + Sync + 'static>(region: Arc<MmapRegion<B>>) -> Self {
        Self(Kind::Of(region))
    }

    /// The pages, if they are logged here.
    pub(crate) fn pages(&self) -> Option<&AtomicBitmap> {
        match &self.0 {
            Kind::Pages(pages) => pages.log.get(),
            Kind::Off | Kind::Of(_) => None,
        }
    }
}

impl<'a> WithBitmapSlice<'a> for WriteLog {
    type S = RefSlice<'a, Self>;
}

impl Bitmap for WriteLog {
    #[inline]
    fn mark_dirty(&self, offset: usize, length: usize) {
        match &self.0 {
            Kind::Off => {}
            Kind::Pages(pages) => {
                if let Some(log) = pages.log.get() {
                    log.mark_dirty(offset, length);
                }
            }
            Kind::Of(region) => region.mark_dirty(offset, length),
        }
    }

    fn dirty_at(&self, offset: usize) -> bool {
        match &self.0 {
            Kind::Off => false,
            Kind::Pages(pages) => pages.log.get().is_some_and(|log| log.dirty_at(offset)),
            Kind::Of(region) => region.dirty_at(offset),
        }
    }

    #[inline]
    fn slice_at(&self, offset: usize) -> RefSlice<'_, Self> {
        RefSlice::new(self, offset)
    }
}

impl NewBitmap for WriteLog {
    fn with_len(length: usize) -> Self {
        Self::new(true, length)
    }
}

impl fmt::Debug for WriteLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::Off => "Off",
            Kind::Pages(_) => "Pages",
            Kind::Of(_) => "Of",
        })
    }
}
