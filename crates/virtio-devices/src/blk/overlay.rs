//! A disk whose writes go to a file without a name: what is under it stays as it is.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, OFlags, fallocate};
use vmmkit_guest_memory::{GuestRam, Segment};

use super::disk::is_unsupported;
use super::raw::{total, whole};
use super::segments::part;
use super::spec::SECTOR;
use super::written::Written;
use super::{Disk, Topology};

/// A disk under which another one is read and never written.
///
/// The guest's writes are in a file without a name, and gone with it: after the end of the machine, however it
/// ends, nothing is left.
#[derive(Debug)]
pub struct OverlayDisk {
    under: Arc<dyn Disk>,
    /// Bytes of `under` when it was made.
    under_size: u64,
    file: File,
    /// The sectors that are in the file.
    written: Written,
}

impl OverlayDisk {
    /// A disk with the contents of `under`, whose writes go to a file in `folder`.
    ///
    /// # Errors
    /// The host's: the folder's file system has no files without a name, or no room.
    pub fn new(under: Arc<dyn Disk>, folder: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(OFlags::TMPFILE.bits() as i32);
        let file = options.open(folder)?;
        let under_size = under.size()?;
        file.set_len(under_size)?;
        Ok(Self {
            under,
            under_size,
            file,
            written: Written::default(),
        })
    }

    /// Calls `read` with each part of the segments that is wholly in the file, or wholly under it: whether it is
    /// in the file, its segments and its offset.
    fn parts(
        &self,
        segments: &[Segment],
        offset: u64,
        read: impl Fn(bool, &[Segment], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let end = offset.saturating_add(total(segments));
        let mut at = offset;
        while at < end {
            let (is_written, next) = self.run(at, end);
            match (at, next) == (offset, end) {
                true => read(is_written, segments, at)?,
                false => read(is_written, &part(segments, at - offset, next - at), at)?,
            }
            at = next;
        }
        Ok(())
    }

    /// Whether the sector at `at` is in the file, and where the run of such sectors ends, at most at `end`.
    fn run(&self, at: u64, end: u64) -> (bool, u64) {
        if at >= self.under_size {
            return (true, end);
        }
        let last = end.min(self.under_size).div_ceil(SECTOR);
        let (is_written, next) = self.written.run(at / SECTOR, last);
        (is_written, (next * SECTOR).min(end))
    }

    /// The file has this range now.
    fn wrote(&self, offset: u64, length: u64) {
        let first = offset / SECTOR;
        self.written.add(first, first + length / SECTOR);
    }

    /// Zeroes in the file, which takes no room for them where its file system can.
    fn zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.file, mode, offset, length).map_err(io::Error::from) {
            Err(error) if is_unsupported(&error) => super::raw::zeroes(&self.file, offset, length),
            answer => answer,
        }
    }
}

impl Disk for OverlayDisk {
    fn name(&self) -> String {
        self.under.name()
    }

    fn unsaved(&self) -> Option<&'static str> {
        Some("what the guest writes to it is gone with this process")
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn grow(&self, size: u64) -> io::Result<()> {
        if size > self.size()? {
            self.file.set_len(size)?;
        }
        Ok(())
    }

    fn topology(&self) -> Topology {
        self.under.topology()
    }

    fn read(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()> {
        self.parts(
            segments,
            offset,
            |is_written, segments, at| match is_written {
                true => whole(segments, at, io::ErrorKind::UnexpectedEof, |rest, at| {
                    ram.read_at(&self.file, rest, at)
                }),
                false => self.under.read(ram, segments, at),
            },
        )
    }

    fn write(&self, ram: &GuestRam, segments: &[Segment], offset: u64) -> io::Result<()> {
        whole(segments, offset, io::ErrorKind::WriteZero, |rest, at| {
            ram.write_at(&self.file, rest, at)
        })?;
        self.wrote(offset, total(segments));
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.write_zeroes(offset, length, true)
    }

    fn write_zeroes(&self, offset: u64, length: u64, _unmap: bool) -> io::Result<()> {
        self.zeroes(offset, length)?;
        self.wrote(offset, length);
        Ok(())
    }

    fn buffers_writes(&self) -> bool {
        true
    }

    fn is_temporary(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use vmmkit_guest_memory::{GuestAddress, RamConfig, RamSize};

    use super::*;
    use crate::MemoryDisk;

    const SECTORS: usize = 64;

    struct Fixture {
        ram: GuestRam,
        under: Arc<MemoryDisk>,
        disk: OverlayDisk,
        /// The contents that the guest should read.
        twin: Vec<u8>,
    }

    fn fixture() -> Fixture {
        let size = RamSize::mebibytes(1);
        let ram = GuestRam::new(&RamConfig {
            size,
            ..RamConfig::default()
        })
        .unwrap();
        let bytes: Vec<u8> = (0..SECTORS * 512).map(|at| (at / 512) as u8).collect();
        let under = Arc::new(MemoryDisk::from(bytes.clone()).read_only());
        let disk = OverlayDisk::new(under.clone(), &std::env::temp_dir()).unwrap();
        Fixture {
            ram,
            under,
            disk,
            twin: bytes,
        }
    }

    /// `sectors` in two segments of the guest's RAM.
    fn segments(sectors: usize) -> Vec<Segment> {
        let first = (sectors * 512 / 3) as u32;
        let of = |address, length| Segment {
            address: GuestAddress(address),
            length,
        };
        vec![
            of(0x1000, first),
            of(0x4_0000, (sectors * 512) as u32 - first),
        ]
    }

    impl Fixture {
        fn write(&mut self, sector: usize, sectors: usize, value: u8) {
            let parts = segments(sectors);
            for segment in &parts {
                let bytes = vec![value; segment.length as usize];
                self.ram.write_bytes(segment.address, &bytes).unwrap();
            }
            self.disk
                .write(&self.ram, &parts, sector as u64 * 512)
                .unwrap();
            self.twin[sector * 512..(sector + sectors) * 512].fill(value);
        }

        #[track_caller]
        fn check(&self) {
            for (sector, sectors) in [(0, SECTORS), (3, 7), (9, 1), (SECTORS - 5, 5)] {
                let parts = segments(sectors);
                self.disk
                    .read(&self.ram, &parts, sector as u64 * 512)
                    .unwrap();
                let mut read = Vec::new();
                for segment in &parts {
                    let mut bytes = vec![0; segment.length as usize];
                    self.ram.read_bytes(segment.address, &mut bytes).unwrap();
                    read.extend(bytes);
                }
                assert!(read == self.twin[sector * 512..(sector + sectors) * 512]);
            }
        }
    }

    #[test]
    fn a_guest_reads_its_own_writes_and_what_is_under_them() {
        let mut fixture = fixture();
        let before = fixture.under.contents();
        fixture.check();
        for (sector, sectors, value) in [(4, 2, 0xa1), (9, 1, 0xa2), (5, 3, 0xa3), (62, 2, 0xa4)] {
            fixture.write(sector, sectors, value);
            fixture.check();
        }
        fixture.disk.write_zeroes(5 * 512, 1024, false).unwrap();
        fixture.twin[5 * 512..7 * 512].fill(0);
        fixture.disk.discard(30 * 512, 512).unwrap();
        fixture.twin[30 * 512..31 * 512].fill(0);
        fixture.check();
        assert!(fixture.under.contents() == before);
    }

    #[test]
    fn what_is_grown_reads_as_zeroes() {
        let mut fixture = fixture();
        fixture.disk.grow((SECTORS as u64 + 8) * 512).unwrap();
        assert_eq!(fixture.disk.size().unwrap(), (SECTORS as u64 + 8) * 512);
        fixture.twin.resize((SECTORS + 8) * 512, 0);
        let parts = segments(16);
        let offset = (SECTORS as u64 - 8) * 512;
        fixture.disk.read(&fixture.ram, &parts, offset).unwrap();
        let mut last = vec![0xff; 512];
        let end = parts[1].address.0 + u64::from(parts[1].length) - 512;
        fixture
            .ram
            .read_bytes(GuestAddress(end), &mut last)
            .unwrap();
        assert!(last.iter().all(|byte| *byte == 0));
        fixture.write(SECTORS - 4, 8, 0xb1);
        fixture.check();
    }

    #[test]
    fn nothing_is_left_in_the_folder() {
        let folder = std::env::temp_dir().join(format!("overlay-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let disk = OverlayDisk::new(Arc::new(MemoryDisk::new(512)), &folder).unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        assert!(disk.is_temporary());
        std::fs::remove_dir(&folder).unwrap();
        assert!(OverlayDisk::new(Arc::new(MemoryDisk::new(512)), &folder).is_err());
    }
}
