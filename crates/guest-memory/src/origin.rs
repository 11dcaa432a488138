//! Which pages of RAM that is mapped from images are not theirs any more, as the host's kernel has them: who wrote a
//! page does not matter, be it a vCPU, a device of this process or the kernel.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::{ChangesError, GuestRam, PAGE_SIZE, PageRuns};

/// Bits of an entry of the page map (Linux, Documentation/admin-guide/mm/pagemap.rst): the page is in memory; in swap;
/// one of a file. A page of a private mapping of a file that was written is not the file's any more.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_FILE: u64 = 1 << 61;
/// Bytes of an entry.
const ENTRY: usize = 8;
/// Bytes of entries that are read at once.
const CHUNK: usize = 64 << 10;

/// The host's view of this process's memory. It is opened with RAM: a process that is confined later may not.
#[derive(Debug)]
pub(crate) struct Origin {
    view: io::Result<View>,
}

#[derive(Debug)]
struct View {
    pages: File,
    areas: File,
}

impl Origin {
    pub(crate) fn open() -> Self {
        let open = || {
            Ok(View {
                pages: File::open("/proc/self/pagemap")?,
                areas: File::open("/proc/self/maps")?,
            })
        };
        Self { view: open() }
    }
}

impl GuestRam {
    /// Whether RAM is [mapped from images](Self::from_image), so that the host knows which pages are not theirs any more.
    pub fn is_mapped_from_images(&self) -> bool {
        self.origin.is_some()
    }

    /// The pages that differ from the images that RAM was [mapped from](Self::from_image), and perhaps some more. The
    /// guest must not run meanwhile. It costs nothing before it is asked for.
    ///
    /// # Errors
    /// [`ChangesError`]: RAM is not mapped from images, or the host does not say it.
    pub fn changed_pages(&self) -> Result<PageRuns, ChangesError> {
        let origin = self.origin.as_ref().ok_or(ChangesError::NotMapped)?;
        let view = origin.view.as_ref().map_err(|error| {
            let code = error.raw_os_error();
            ChangesError::Host(code.map_or(error.kind().into(), io::Error::from_raw_os_error))
        })?;
        let areas = view.anonymous().map_err(ChangesError::Host)?;
        let (mut runs, mut start) = (PageRuns::default(), 0);
        for region in self.regions() {
            let place = region.host_address..region.host_address + region.size;
            view.add_changed(place, start, &areas, &mut runs)
                .map_err(ChangesError::Host)?;
            start += region.size / PAGE_SIZE;
        }
        Ok(runs)
    }
}

impl View {
    /// Adds the changed pages of the mapping at `place`, whose first one is the page `start` of RAM. Those in one of
    /// `areas` have been replaced.
    fn add_changed(
        &self,
        place: Range<u64>,
        start: u64,
        areas: &[Range<u64>],
        runs: &mut PageRuns,
    ) -> io::Result<()> {
        let mut entries = vec![0; CHUNK];
        let mut areas = areas
            .iter()
            .skip_while(|area| area.end <= place.start)
            .peekable();
        let mut address = place.start;
        while address < place.end {
            let left = usize::try_from((place.end - address) / PAGE_SIZE).unwrap_or(CHUNK);
            let length = left.saturating_mul(ENTRY).min(CHUNK);
            let Some(chunk) = entries.get_mut(..length) else {
                break;
            };
            self.pages
                .read_exact_at(chunk, address / PAGE_SIZE * ENTRY as u64)?;
            for entry in chunk.as_chunks::<ENTRY>().0 {
                let entry = u64::from_ne_bytes(*entry);
                while areas.next_if(|area| area.end <= address).is_some() {}
                let is_replaced = areas.peek().is_some_and(|area| area.contains(&address));
                let is_there = entry & (PRESENT | SWAPPED) != 0;
                if is_replaced || (is_there && entry & OF_FILE == 0) {
                    runs.add(start + (address - place.start) / PAGE_SIZE, 1);
                }
                address += PAGE_SIZE;
            }
        }
        Ok(())
    }

    /// The mappings of this process that no file is behind, in order.
    fn anonymous(&self) -> io::Result<Vec<Range<u64>>> {
        let (mut text, mut chunk) = (Vec::new(), vec![0; CHUNK]);
        loop {
            let read = self.areas.read_at(&mut chunk, text.len() as u64)?;
            match chunk.get(..read) {
                None | Some([]) => break,
                Some(bytes) => text.extend_from_slice(bytes),
            }
        }
        let lines = text.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        let areas: Option<Vec<_>> = lines.map(area).collect();
        let areas = areas.ok_or(io::ErrorKind::InvalidData)?;
        Ok(areas.into_iter().flatten().collect())
    }
}

/// The addresses of a line of maps (proc_pid_maps(5)), if no file is behind them; `None` where it is not one.
fn area(line: &[u8]) -> Option<Option<Range<u64>>> {
    let mut words = line.split(|byte| *byte == b' ');
    let mut word = || std::str::from_utf8(words.next()?).ok();
    let (start, end) = word()?.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    let range = address(start)?..address(end)?;
    // Access, offset, device.
    let inode = (word()?, word()?, word()?, word()?).3;
    Some((inode == "0").then_some(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_without_a_file_is_told_from_one_with_a_file() {
        let anonymous = b"7f0000001000-7f0000003000 rw-p 00000000 00:00 0 ";
        assert_eq!(
            area(anonymous),
            Some(Some(0x7f00_0000_1000..0x7f00_0000_3000))
        );
        let file = b"7f0000001000-7f0000003000 rw-p 00000000 00:01 1027   /memfd:a b (deleted)";
        assert_eq!(area(file), Some(None));
        for line in [
            &b"7f"[..],
            b"x-y rw-p 0 00:00 0",
            b"1-2 rw-p 0",
            b"\xff-2 rw-p 0 0 0",
        ] {
            assert_eq!(area(line), None);
        }
    }
}
