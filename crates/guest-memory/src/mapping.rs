//! Mapping one region, and the advice that the host gets about it.

use std::io;

use rustix::mm::{Advice, madvise};
use vm_memory::mmap::{MmapRegionBuilder, MmapRegionError};
use vm_memory::{FileOffset, MmapRegion};

use crate::backing::Source;
use crate::guard::Guards;
use crate::write_log::WriteLog;
use crate::{Backing, RamConfig, RamError, ThpAdvice, host};

/// A mapped region with the log of the VMM's own writes, if it is kept.
pub(crate) type Mapping = MmapRegion<WriteLog>;

/// Where regions begin, so that a huge page of the host can back a huge page of the guest.
pub(crate) const ALIGNMENT: u64 = 2 << 20;
/// How often that, and guards, are tried.
const ATTEMPTS: u32 = 16;

/// Maps `size` bytes of `source` from `offset`.
pub(crate) fn map(
    config: &RamConfig,
    source: &Source,
    offset: u64,
    size: u64,
) -> Result<(Mapping, Guards), RamError> {
    let length = usize::try_from(size).map_err(|_| RamError::AddressSpace { size })?;
    let request = Request {
        config,
        source,
        offset,
        length,
    };
    let (mapping, guards) =
        map_guarded(length, || request.map()).map_err(|error| request.explain(error))?;
    advise(&mapping, config)?;
    Ok((mapping, guards))
}

/// One region to map.
struct Request<'a> {
    config: &'a RamConfig,
    source: &'a Source,
    offset: u64,
    length: usize,
}

/// Maps `length` bytes by `map` at a multiple of [`ALIGNMENT`], with guards on both sides.
///
/// The kernel places mappings top-down, before 6.7 at any page, and mostly right below another one.
/// So where the start is not aligned, or no guard fits above, the upper end of the place is filled,
/// and the next mapping comes to lie just below that. Another thread may map in between, so it is
/// tried again; should that never help, the guest gets fewer huge pages or guards, nothing worse.
pub(crate) fn map_guarded(
    length: usize,
    map: impl Fn() -> Result<Mapping, MmapRegionError>,
) -> Result<(Mapping, Guards), MmapRegionError> {
    let mut mapping = map()?;
    let mut guards = Guards::default();
    for _ in 0..ATTEMPTS {
        let start = mapping.as_ptr() as usize;
        let excess = start % ALIGNMENT as usize;
        let is_aligned = excess == 0 || length < ALIGNMENT as usize;
        if is_aligned && guards.surround(start, length) {
            break;
        }
        drop(mapping);
        let filler = match is_aligned {
            false => excess,
            true => length.min(ALIGNMENT as usize),
        };
        guards.fill_below(start.saturating_add(length), filler);
        mapping = map()?;
    }
    guards.keep_neighbours(mapping.as_ptr() as usize, length);
    Ok((mapping, guards))
}

impl Request<'_> {
    fn map(&self) -> Result<Mapping, MmapRegionError> {
        let log = WriteLog::new(self.config.dirty_log, self.length);
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
/// serves the guest all the same, so that refusals are not errors, but for merging.
fn advise(mapping: &Mapping, config: &RamConfig) -> Result<(), RamError> {
    let advise = |advice| {
        // SAFETY: the range is exactly `mapping`, which is borrowed and so stays mapped; the advices
        // below change neither the contents nor the validity of its pages.
        unsafe { madvise(mapping.as_ptr().cast(), mapping.size(), advice) }
    };
    let thp = match config.thp {
        _ if matches!(config.backing, Backing::HugeTlb(_)) => None,
        ThpAdvice::Host => None,
        ThpAdvice::Always => Some(Advice::LinuxHugepage),
        ThpAdvice::Never => Some(Advice::LinuxNoHugepage),
    };
    let dump = (!config.dump).then_some(Advice::LinuxDontDump);
    for advice in [dump, thp].into_iter().flatten() {
        let _ = advise(advice);
    }
    if !config.merge {
        return Ok(());
    }
    advise(Advice::LinuxMergeable).map_err(|error| RamError::Merge(error.into()))
}

/// Keeps small pages for the first 2 MiB, unless huge ones are asked for: a guest's boot structures
/// are a few pages there, and a kernel uses the rest last if at all, so that clearing a whole huge
/// page would cost every start more time than all of them.
pub(crate) fn spare_low_memory(mapping: &Mapping, config: &RamConfig) {
    if config.thp != ThpAdvice::Host || config.backing != Backing::Anonymous {
        return;
    }
    let length = mapping.size().min(ALIGNMENT as usize);
    // SAFETY: the range is inside `mapping`, which is borrowed and so stays mapped; the advice
    // changes neither the contents nor the validity of its pages.
    let _ = unsafe { madvise(mapping.as_ptr().cast(), length, Advice::LinuxNoHugepage) };
}
