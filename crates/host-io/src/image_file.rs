//! An open file as the storage of the crate imago, whose trait has unsafe methods.

use std::fmt;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use imago::Storage;
use imago::io_buffers::{IoVector, IoVectorMut};
use imago::storage::drivers::CommonStorageHelper;

/// Called before each write, with its offset in bytes and its data.
type BeforeWrite = Box<dyn Fn(u64, &[u8]) -> io::Result<()> + Send + Sync>;
/// Fills its first argument with what is at the second, an offset in bytes.
type Read = Box<dyn Fn(&mut [u8], u64) -> io::Result<()> + Send + Sync>;

/// An open file or block device as the storage of an image. It opens nothing by name, and neither
/// flushes nor syncs by itself: each write is with the host when it returns.
pub struct ImageFile {
    contents: Contents,
    before_write: BeforeWrite,
    helper: CommonStorageHelper,
}

enum Contents {
    File(File),
    Read { size: u64, read: Read },
}

impl ImageFile {
    /// `file`, which is read, and written if it was opened for that.
    pub fn new(file: File) -> Self {
        Self::of(Contents::File(file))
    }

    /// Contents of `size` bytes that are in no file as they are: `read` fills its first argument with what is at
    /// the second, an offset in bytes; the end of both is within `size`. They cannot be written.
    pub fn read_only(
        size: u64,
        read: impl Fn(&mut [u8], u64) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let read = Box::new(read);
        Self::of(Contents::Read { size, read })
    }

    fn of(contents: Contents) -> Self {
        Self {
            contents,
            before_write: Box::new(|_, _| Ok(())),
            helper: CommonStorageHelper::default(),
        }
    }

    /// Calls `before` with the offset in bytes and the contents of each write, on the thread that
    /// writes; its error is the write's, which then does not take place.
    #[must_use]
    pub fn before_write(
        mut self,
        before: impl Fn(u64, &[u8]) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.before_write = Box::new(before);
        self
    }
}

impl Storage for ImageFile {
    fn size(&self) -> io::Result<u64> {
        match &self.contents {
            // Files and block devices alike; nobody uses the position.
            Contents::File(file) => {
                let mut file = file;
                file.seek(SeekFrom::End(0))
            }
            Contents::Read { size, .. } => Ok(*size),
        }
    }

    // SAFETY: the trait asks the caller for the alignment, which is 1 here, and to keep reads and
    // writes of one place apart; this reads into the buffers that it is given.
    unsafe fn pure_readv(&self, bufv: IoVectorMut<'_>, mut offset: u64) -> io::Result<()> {
        for mut buffer in bufv.into_inner() {
            let length = buffer.len() as u64;
            match &self.contents {
                Contents::File(file) => read_with_zeroes(file, &mut buffer, offset)?,
                Contents::Read { size, read } => {
                    let there = size.saturating_sub(offset).min(length);
                    let (bytes, zeroes) = buffer.split_at_mut(there as usize);
                    zeroes.fill(0);
                    if !bytes.is_empty() {
                        read(bytes, offset)?;
                    }
                }
            }
            offset = offset.checked_add(length).ok_or(too_far())?;
        }
        Ok(())
    }

    // SAFETY: as above.
    unsafe fn pure_writev(&self, bufv: IoVector<'_>, mut offset: u64) -> io::Result<()> {
        let Contents::File(file) = &self.contents else {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        };
        for buffer in bufv.into_inner() {
            (self.before_write)(offset, &buffer)?;
            file.write_all_at(&buffer, offset)?;
            offset = offset.checked_add(buffer.len() as u64).ok_or(too_far())?;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        match &self.contents {
            Contents::File(file) => file.sync_data(),
            Contents::Read { .. } => Ok(()),
        }
    }

    // SAFETY: nothing is cached here.
    unsafe fn invalidate_cache(&self) -> io::Result<()> {
        Ok(())
    }

    fn get_storage_helper(&self) -> &CommonStorageHelper {
        &self.helper
    }
}

/// Fills `buffer` from the file at `offset` in bytes; behind the end of the file are zeroes.
///
/// # Errors
/// The host's, but for interruptions.
pub fn read_with_zeroes(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.read_at(buffer, offset) {
            Ok(0) => break,
            Ok(length) => {
                buffer = buffer.get_mut(length..).unwrap_or_default();
                offset += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.fill(0);
    Ok(())
}

fn too_far() -> io::Error {
    io::ErrorKind::InvalidInput.into()
}

impl fmt::Debug for ImageFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = match &self.contents {
            Contents::File(file) => Some(file),
            Contents::Read { .. } => None,
        };
        f.debug_struct("ImageFile")
            .field("file", &file)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ImageFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("image file")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use imago::StorageExt;
    use parking_lot::Mutex;

    use super::*;

    fn file() -> File {
        let name = format!(
            "image-file-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        );
        let path = std::env::temp_dir().join(name);
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).open(&path);
        std::fs::remove_file(&path).unwrap();
        file.unwrap()
    }

    #[test]
    fn it_reads_what_it_wrote_and_zeroes_behind_the_end() {
        let image = ImageFile::new(file());
        image.write(&[7; 700][..], 100).unwrap();
        assert_eq!(image.size().unwrap(), 800);
        let mut bytes = [1; 900];
        image.read(&mut bytes[..], 0).unwrap();
        assert_eq!(bytes[..100], [0; 100]);
        assert_eq!(bytes[100..800], [7; 700]);
        assert_eq!(bytes[800..], [0; 100]);
    }

    #[test]
    fn contents_of_no_file_are_read_and_never_written() {
        let image = ImageFile::read_only(100, |bytes, offset| {
            assert!(offset + bytes.len() as u64 <= 100);
            bytes.fill(7);
            Ok(())
        });
        assert_eq!(image.size().unwrap(), 100);
        let mut bytes = [1; 80];
        image.read(&mut bytes[..], 50).unwrap();
        assert_eq!(bytes[..50], [7; 50]);
        assert_eq!(bytes[50..], [0; 30]);
        let mut behind = [1; 8];
        image.read(&mut behind[..], 200).unwrap();
        assert_eq!(behind, [0; 8]);
        let error = image.write(&[7; 8][..], 10).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
    }

    #[test]
    fn each_write_is_announced_and_may_be_refused() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = seen.clone();
        let image = ImageFile::new(file()).before_write(move |offset, bytes| {
            told.lock().push((offset, bytes.len()));
            if offset >= 1000 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        });
        image.write(&[7; 8][..], 10).unwrap();
        let error = image.write(&[7; 8][..], 1000).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(*seen.lock(), [(10, 8), (1000, 8)]);
        assert_eq!(image.size().unwrap(), 18);
    }
}
