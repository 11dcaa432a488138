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
        let mut bytes = vec![0; CHUNK];
        let mut written = 0;
        for run in pages.as_slice() {
            for piece in self.pieces(*run) {
                let Some(chunk) = bytes.get_mut(..piece.length) else {
                    break;
                };
                self.read_bytes(piece.address, chunk)
                    .map_err(io::Error::other)?;
                written += write(image, chunk, piece.offset)?;
            }
        }
        Ok(written)
    }

    /// RAM as `config` says, with the contents that [`write_image`](Self::write_image) wrote to `image`, and the
    /// [changes](RamImage::changed) on top.
    ///
    /// Anonymous memory without prefault, merging, huge pages and core dumps is the image itself, mapped
    /// privately: nothing is read before it is touched, all processes that map it share the host's page cache,
    /// and what the guest writes is its own. Changes are mapped over it likewise, but for short runs, which are copied.
    /// The files must not be changed or shortened then: the next access to a lost page would be a SIGBUS. For other
    /// memory they are copied.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn from_image(config: &RamConfig, image: &RamImage) -> Result<Self, ImageError> {
        image.check(config.size.bytes())?;
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

/// Writes the pages of `bytes` that are not all zeros to `offset`; how many bytes those are.
fn write_pages(image: &File, bytes: &[u8], offset: u64) -> io::Result<u64> {
    let pages: Vec<&[u8]> = bytes.chunks(PAGE).collect();
    let (mut at, mut written) = (0_usize, 0);
    for run in pages.chunk_by(|one, other| is_zero(one) == is_zero(other)) {
        let length: usize = run.iter().map(|page| page.len()).sum();
        let is_data = run.first().is_some_and(|page| !is_zero(page));
        if let Some(data) = bytes.get(at..at + length).filter(|_| is_data) {
            image.write_all_at(data, offset + at as u64)?;
            written += length as u64;
        }
        at += length;
    }
    Ok(written)
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
