//! RAM as an image: a file of its size in which pages of zeros are holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::backing::{Pages, Source};
use crate::layers::{CHUNK, is_zero};
use crate::origin::Origin;
use crate::{
    Backing, GuestAddress, GuestRam, ImageError, PAGE_SIZE, PageRuns, RamConfig, RamImage,
    ThpAdvice,
};

const PAGE: usize = PAGE_SIZE as usize;

impl GuestRam {
    /// Writes all of RAM to `image`, an empty file: the regions one behind the other, as in a file of
    /// [`Backing::File`]. Pages of zeros become holes. The guest must not run meanwhile. Returns how many bytes
    /// are not holes.
    ///
    /// # Errors
    /// The host's reason; the file is incomplete then.
    pub fn write_image(&self, image: &File) -> io::Result<u64> {
        let pages = self.size() / PAGE_SIZE;
        let mut all = PageRuns::default();
        all.add(0, pages);
        self.write_changes(image, &all)
    }

    /// Writes `pages` to `image`, an empty file, each where it lies in a [whole image](Self::write_image): what is not
    /// among them becomes a hole, as a page of zeros does. The guest must not run meanwhile. Returns how many bytes
    /// are not holes.
    ///
    /// # Errors
    /// The host's reason; the file is incomplete then.
    pub fn write_changes(&self, image: &File, pages: &PageRuns) -> io::Result<u64> {
        image.set_len(self.size())?;
        self.write_runs(image, pages, write_pages)
    }

    /// Writes `pages` over what `image`, which has such an image already, has of them; pages of zeros too. The guest may
    /// run: a page that it writes meanwhile is to be written once more. Returns how many bytes were written.
    ///
    /// # Errors
    /// The host's reason.
    pub fn overwrite(&self, image: &File, pages: &PageRuns) -> io::Result<u64> {
        self.write_runs(image, pages, |image, bytes, offset| {
            image.write_all_at(bytes, offset)?;
            Ok(bytes.len() as u64)
        })
    }

    fn write_runs(
        &self,
        image: &File,
        pages: &PageRuns,
        write: impl Fn(&File, &[u8], u64) -> io::Result<u64>,
    ) -> io::Result<u64> {
        let mut written = 0;
        self.copy_pieces(pages, |bytes, offset| -> io::Result<()> {
            written += write(image, bytes, offset)?;
            Ok(())
        })?;
        Ok(written)
    }

    /// Calls `visit` with copies of `pages`, and where each lies in a [whole image](Self::write_image), in bytes: at most
    /// 1 MiB at once, which is whole pages.
    fn copy_pieces<E: From<io::Error>>(
        &self,
        pages: &PageRuns,
        mut visit: impl FnMut(&[u8], u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut bytes = vec![0; CHUNK];
        for run in pages.as_slice() {
            for piece in self.pieces(*run) {
                let Some(chunk) = bytes.get_mut(..piece.length) else {
                    break;
                };
                self.read_bytes(piece.address, chunk)
                    .map_err(io::Error::other)?;
                visit(chunk, piece.offset)?;
            }
        }
        Ok(())
    }

    /// Calls `visit` with copies of `pages` in their order: the number of the first one, and their bytes, at most 1 MiB
    /// at once, or `None` for `count` pages of zeros. The guest may run: a page that it writes meanwhile is to be
    /// copied once more.
    ///
    /// # Errors
    /// That of `visit`.
    pub fn copy_pages<E: From<io::Error>>(
        &self,
        pages: &PageRuns,
        mut visit: impl FnMut(u64, u64, Option<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.copy_pieces(pages, |bytes, offset| {
            let mut first = offset / PAGE_SIZE;
            let mut rest = bytes;
            while !rest.is_empty() {
                let (run, behind, is_data) = next_run(rest);
                let count = (run.len() / PAGE) as u64;
                visit(first, count, is_data.then_some(run))?;
                first += count;
                rest = behind;
            }
            Ok(())
        })
    }

    /// RAM as `config` says, with the contents that [`write_image`](Self::write_image) wrote to `image`, and the
    /// [changes](RamImage::changed) on top.
    ///
    /// Anonymous memory without prefault, merging, huge pages and core dumps is the image itself, mapped
    /// privately: nothing is read before it is touched, all processes that map it share the host's page cache,
    /// and what the guest writes is its own. Changes are mapped over it likewise, but for short runs, which are copied.
    /// The files must not be changed or shortened then: the next access to a lost page would be a SIGBUS. For other
    /// memory they are copied. An image that is [nobody else's](RamImage::own) becomes such memory itself.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn from_image(config: &RamConfig, image: &RamImage) -> Result<Self, ImageError> {
        image.check(config.size.bytes())?;
        if image.is_own && image.changes.is_empty() && can_share(config) {
            let source = Source {
                flags: libc::MAP_SHARED | libc::MAP_NORESERVE,
                file: Some(image.full.clone()),
                pages: Pages::Shared,
            };
            return Ok(Self::of(config, source)?);
        }
        let is_mapped = config.backing == Backing::Anonymous
            && config.thp != ThpAdvice::Always
            && !(config.prefault || config.merge || config.dump);
        if is_mapped {
            let source = Source {
                flags: libc::MAP_PRIVATE | libc::MAP_NORESERVE,
                file: Some(image.full.clone()),
                pages: Pages::PrivateFile,
            };
            let mut ram = Self::of(config, source)?;
            ram.map_changes(image).map_err(ImageError::Read)?;
            ram.origin = Some(Arc::new(Origin::open()));
            return Ok(ram);
        }
        let ram = Self::new(config)?;
        ram.read_image(&image.full).map_err(ImageError::Read)?;
        for (file, pages) in &image.changes {
            for run in pages.as_slice() {
                ram.copy_run(file, *run).map_err(ImageError::Read)?;
            }
        }
        Ok(ram)
    }

    /// Copies what of `image` is not a hole; the rest of RAM becomes zero.
    fn read_image(&self, image: &File) -> io::Result<()> {
        let mut bytes = vec![0; CHUNK];
        let mut start = 0;
        for region in self.regions() {
            let size = usize::try_from(region.size).map_err(io::Error::other)?;
            self.fill(region.guest_address, size, 0)
                .map_err(io::Error::other)?;
            let end = start + region.size;
            let mut from = start;
            while let Some((data, hole)) = next_data(image, from)? {
                let (mut at, hole) = (data, hole.min(end));
                while at < hole {
                    let left = usize::try_from(hole - at).unwrap_or(CHUNK);
                    let Some(chunk) = bytes.get_mut(..left.min(CHUNK)) else {
                        break;
                    };
                    image.read_exact_at(chunk, at)?;
                    let address = GuestAddress(region.guest_address.0 + (at - start));
                    self.write_bytes(address, chunk).map_err(io::Error::other)?;
                    at += chunk.len() as u64;
                }
                if hole >= end {
                    break;
                }
                from = hole;
            }
            start = end;
        }
        Ok(())
    }
}

/// Whether such RAM may be a memory file, which is nobody else's.
fn can_share(config: &RamConfig) -> bool {
    matches!(config.backing, Backing::Anonymous | Backing::Memfd)
        && !(config.prefault || config.merge || config.dump)
}

/// Writes the pages of `bytes` that are not all zeros to `offset`; how many bytes those are.
fn write_pages(image: &File, bytes: &[u8], offset: u64) -> io::Result<u64> {
    let (mut at, mut written, mut rest) = (offset, 0, bytes);
    while !rest.is_empty() {
        let (run, behind, is_data) = next_run(rest);
        if is_data {
            image.write_all_at(run, at)?;
            written += run.len() as u64;
        }
        at += run.len() as u64;
        rest = behind;
    }
    Ok(written)
}

/// The first pages of `bytes` that are all zeros, or of which none is; the rest; and whether they are data.
fn next_run(bytes: &[u8]) -> (&[u8], &[u8], bool) {
    let mut pages = bytes.chunks(PAGE);
    let is_data = pages.next().is_some_and(|page| !is_zero(page));
    let more = pages.take_while(|page| is_zero(page) != is_data).count();
    let length = bytes.len().min((more + 1) * PAGE);
    let (run, rest) = bytes.split_at(length);
    (run, rest, is_data)
}

/// The next bytes from `from` on that are not a hole, and where they end; `None` where all the rest is a hole.
fn next_data(image: &File, from: u64) -> io::Result<Option<(u64, u64)>> {
    let data = match seek(image, SeekFrom::Data(from)) {
        Ok(data) => data,
        Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some((data, seek(image, SeekFrom::Hole(data))?)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::RamSize;

    const MEBIBYTE: u64 = 1 << 20;
    const SIZE: u64 = 16 * MEBIBYTE;

    fn file() -> File {
        let memfd = rustix::fs::memfd_create("image", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        File::from(memfd)
    }

    fn config(backing: Backing) -> RamConfig {
        RamConfig {
            size: RamSize::mebibytes(16),
            backing,
            ..RamConfig::default()
        }
    }

    fn saved() -> RamImage {
        let ram = GuestRam::new(&config(Backing::Anonymous)).unwrap();
        ram.write(GuestAddress(0x5008), 7_u64).unwrap();
        ram.fill(GuestAddress(3 * MEBIBYTE - 10), 20, 0xaa).unwrap();
        ram.write(GuestAddress(SIZE - 1), 9_u8).unwrap();
        let image = file();
        assert_eq!(ram.write_image(&image).unwrap(), 4 * PAGE_SIZE);
        image.into()
    }

    fn check(ram: &GuestRam) {
        assert_eq!(ram.read::<u64>(GuestAddress(0x5008)), Ok(7));
        assert_eq!(ram.read::<u8>(GuestAddress(3 * MEBIBYTE + 9)), Ok(0xaa));
        assert_eq!(ram.read::<u8>(GuestAddress(3 * MEBIBYTE + 10)), Ok(0));
        assert_eq!(ram.read::<u8>(GuestAddress(SIZE - 1)), Ok(9));
        assert_eq!(ram.read::<u64>(GuestAddress(8 * MEBIBYTE)), Ok(0));
    }

    #[test]
    fn pages_are_copied_with_runs_of_zeros_apart() {
        let ram = GuestRam::new(&config(Backing::Anonymous)).unwrap();
        ram.write(GuestAddress(0x5008), 7_u64).unwrap();
        ram.write(GuestAddress(2 * MEBIBYTE), 9_u8).unwrap();
        let mut pages = PageRuns::default();
        pages.add(4, 4);
        pages.add(500, 20);
        let mut seen = Vec::new();
        ram.copy_pages(&pages, |first, count, bytes| -> io::Result<()> {
            seen.push((first, count, bytes.map(|bytes| (bytes.len(), bytes[8]))));
            Ok(())
        })
        .unwrap();
        let data = |byte| Some((PAGE, byte));
        let expected = [
            (4, 1, None),
            (5, 1, data(7)),
            (6, 2, None),
            (500, 12, None),
            (512, 1, data(0)),
            (513, 7, None),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn an_image_of_ones_own_is_the_ram_itself() {
        let ram = GuestRam::new(&config(Backing::Anonymous)).unwrap();
        ram.write(GuestAddress(0x5008), 7_u64).unwrap();
        let image = file();
        ram.write_image(&image).unwrap();
        let seen = image.try_clone().unwrap();
        let image = RamImage::own(image);
        let own = GuestRam::from_image(&config(Backing::Anonymous), &image).unwrap();
        assert_eq!(own.read::<u64>(GuestAddress(0x5008)), Ok(7));
        own.write(GuestAddress(0x5008), 8_u64).unwrap();
        let mut bytes = [0; 8];
        seen.read_exact_at(&mut bytes, 0x5008).unwrap();
        assert_eq!(u64::from_le_bytes(bytes), 8);
        assert!(!own.is_mapped_from_images());
    }

    #[test]
    fn pages_of_zeros_cost_nothing_and_the_rest_comes_back() {
        let image = saved();
        assert_eq!(image.full.metadata().unwrap().len(), SIZE);
        assert!(image.full.metadata().unwrap().blocks() * 512 <= 4 * PAGE_SIZE);
        for backing in [Backing::Anonymous, Backing::Memfd] {
            check(&GuestRam::from_image(&config(backing), &image).unwrap());
        }
        let copied = RamConfig {
            thp: ThpAdvice::Always,
            ..config(Backing::Anonymous)
        };
        check(&GuestRam::from_image(&copied, &image).unwrap());
    }

    #[test]
    fn what_a_clone_writes_is_its_own() {
        let image = saved();
        let one = GuestRam::from_image(&config(Backing::Anonymous), &image).unwrap();
        one.write(GuestAddress(0x5008), 8_u64).unwrap();
        let other = GuestRam::from_image(&config(Backing::Anonymous), &image).unwrap();
        check(&other);
        assert_eq!(one.read::<u64>(GuestAddress(0x5008)), Ok(8));
        assert!(one.region_file(0).is_none());
    }

    #[test]
    fn pages_that_are_given_back_do_not_bring_the_image_back() {
        let ram = GuestRam::from_image(&config(Backing::Anonymous), &saved()).unwrap();
        assert_eq!(ram.discard(GuestAddress(0), MEBIBYTE), Ok(MEBIBYTE));
        assert_eq!(ram.read::<u64>(GuestAddress(0x5008)), Ok(0));
        ram.write(GuestAddress(0x5008), 1_u64).unwrap();
        assert_eq!(ram.read::<u64>(GuestAddress(0x5008)), Ok(1));
        let all = usize::try_from(SIZE).unwrap();
        ram.fill(GuestAddress(0), all, 0).unwrap();
        assert_eq!(ram.read::<u8>(GuestAddress(SIZE - 1)), Ok(0));
        assert_eq!(ram.read::<u8>(GuestAddress(3 * MEBIBYTE)), Ok(0));
    }

    #[test]
    fn a_file_of_another_size_or_kind_is_refused() {
        let image = saved();
        image.full.set_len(SIZE - 1).unwrap();
        let error = GuestRam::from_image(&config(Backing::Anonymous), &image).unwrap_err();
        assert_eq!(
            error.to_string(),
            "16777215 bytes, for guest RAM of 16777216 bytes"
        );
        let directory = File::open("/").unwrap().into();
        let answer = GuestRam::from_image(&config(Backing::Anonymous), &directory);
        assert!(matches!(answer, Err(ImageError::NotAFile)));
    }
}
