//! Mapping one region, and the advice that the host gets about it.

use std::io;

use rustix::mm::{Advice, madvise};
use vm_memory::bitmap::{AtomicBitmap, NewBitmap};
use vm_memory::mmap::{MmapRegionBuilder, MmapRegionError};
use vm_memory::{FileOffset, MmapRegion};

use crate::backing::Source;
use crate::{Backing, RamConfig, RamError, ThpAdvice, host};

/// A mapped region with the log of the VMM's own writes, if it is kept.
pub(crate) type Mapping = MmapRegion<Option<AtomicBitmap>>;

/// Where regions begin, so that a huge page of the host can back a huge page of the guest.
pub(crate) const ALIGNMENT: u64 = 2 << 20;
/// How often that is tried.
const ATTEMPTS: u32 = 16;

/// Maps `size` bytes of `source` from `offset`.
pub(crate) fn map(
    config: &RamConfig,
    source: &Source,
    offset: u64,
    size: u64,
) -> Result<Mapping, RamError> {
    let length = usize::try_from(size).map_err(|_| RamError::AddressSpace { size })?;
    let request = Request {
        config,
        source,
        offset,
        length,
    };
    let mapping = map_aligned(length, || request.map()).map_err(|error| request.explain(error))?;
    advise(&mapping, config);
    if offset == 0 {
        spare_low_memory(&mapping, config);
    }
    Ok(mapping)
}

/// One region to map.
struct Request<'a> {
    config: &'a RamConfig,
    source: &'a Source,
    offset: u64,
    length: usize,
}

/// Maps `length` bytes by `map` at a multiple of [`ALIGNMENT`] where that can be had.
///
/// Kernels before 6.7 place mappings top-down at any page. There the odd part is filled, so
/// that the next mapping, just below the filler, is aligned. The filler may also fall into a hole
/// elsewhere, and another thread may map in between, so it is tried again, with the earlier
/// fillers kept; should that never help, the guest gets fewer huge pages, nothing worse.
pub(crate) fn map_aligned(
    length: usize,
    map: impl Fn() -> Result<Mapping, MmapRegionError>,
) -> Result<Mapping, MmapRegionError> {
    let mut mapping = map()?;
    let mut fillers = Vec::new();
    for _ in 0..ATTEMPTS {
        let excess = mapping.as_ptr() as usize % ALIGNMENT as usize;
        if excess == 0 || length < ALIGNMENT as usize {
            break;
        }
        drop(mapping);
        let filler = MmapRegionBuilder::<()>::new(excess)
            .with_mmap_flags(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE)
            .build();
        fillers.push(filler);
        mapping = map()?;
    }
    Ok(mapping)
}

impl Request<'_> {
    fn map(&self) -> Result<Mapping, MmapRegionError> {
        let log = self
            .config
            .dirty_log
            .then(|| AtomicBitmap::with_len(self.length));
        let mut builder = MmapRegionBuilder::new_with_bitmap(self.length, log)
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(self.source.flags)
            .with_hugetlbfs(matches!(self.config.backing, Backing::HugeTlb(_)));
        if let Some(file) = &self.source.file {
            builder = builder.with_file_offset(FileOffset::from_arc(file.clone(), self.offset));
        }
        builder.build()
    }

    fn explain(&self, error: MmapRegionError) -> RamError {
        let size = self.config.size.bytes();
        let source = match error {
            MmapRegionError::Mmap(source) => source,
            other => io::Error::other(other),
        };
        match self.config.backing {
            Backing::HugeTlb(page_size) => host::huge_page_shortage(size, page_size, source),
            _ => RamError::Map { size, source },
        }
    }
}

/// Tells the host how the pages will be used. A host that cannot follow (no THP in its kernel)
/// serves the guest all the same, so that refusals are not errors.
fn advise(mapping: &Mapping, config: &RamConfig) {
    let thp = match config.thp {
        _ if matches!(config.backing, Backing::HugeTlb(_)) => None,
        ThpAdvice::Host => None,
        ThpAdvice::Always => Some(Advice::LinuxHugepage),
        ThpAdvice::Never => Some(Advice::LinuxNoHugepage),
    };
    for advice in [Some(Advice::LinuxDontDump), thp].into_iter().flatten() {
        // SAFETY: the range is exactly `mapping`, which is borrowed and so stays mapped; these
        // advices change neither the contents nor the validity of its pages.
        let _ = unsafe { madvise(mapping.as_ptr().cast(), mapping.size(), advice) };
    }
}

/// Keeps small pages for the first 2 MiB, unless huge ones are asked for: a guest's boot structures
/// are a few pages there, and a kernel uses the rest last if at all, so that clearing a whole huge
/// page would cost every start more time than all of them.
fn spare_low_memory(mapping: &Mapping, config: &RamConfig) {
    if config.thp != ThpAdvice::Host || config.backing != Backing::Anonymous {
        return;
    }
    let length = mapping.size().min(ALIGNMENT as usize);
    // SAFETY: the range is inside `mapping`, which is borrowed and so stays mapped; the advice
    // changes neither the contents nor the validity of its pages.
    let _ = unsafe { madvise(mapping.as_ptr().cast(), length, Advice::LinuxNoHugepage) };
}
