//! Reading from files and streams into RAM.

use std::io::{self, Read};

use vm_memory::{Bytes, GuestAddress, ReadVolatile, VolatileMemory, VolatileMemoryError};

use crate::{FillError, GuestRam};

/// The buffer between a reader and RAM.
const CHUNK: usize = 64 << 10;

impl GuestRam {
    /// Reads exactly `length` bytes into RAM at `address`, through a buffer of 64 KiB.
    ///
    /// # Errors
    /// [`FillError::Access`] before anything is read; else what the reader did.
    pub fn read_from(
        &self,
        reader: &mut impl Read,
        address: GuestAddress,
        length: usize,
    ) -> Result<(), FillError> {
        let (mapping, offset) = self.range(address, length)?;
        let mut buffer = vec![0; CHUNK.min(length)];
        let mut done = 0;
        while done < length {
            let wanted = buffer.len().min(length - done);
            let chunk = buffer.get_mut(..wanted).unwrap_or_default();
            let read = match reader.read(chunk) {
                Ok(0) => {
                    return Err(FillError::UnexpectedEnd {
                        address: address.0,
                        length,
                        read: done,
                    });
                }
                // A reader that claims more than it was given room for is not believed.
                Ok(read) => read.min(wanted),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(FillError::Read {
                        address: address.0,
                        length,
                        source,
                    });
                }
            };
            if let (Ok(slice), Some(bytes)) =
                (mapping.get_slice(offset + done, read), chunk.get(..read))
            {
                slice.copy_from(bytes);
            }
            done += read;
        }
        Ok(())
    }

    /// Reads exactly `length` bytes of a file or socket into RAM at `address` by read(2), without
    /// a copy in between.
    ///
    /// # Errors
    /// See [`read_from`](Self::read_from).
    pub fn read_volatile_from(
        &self,
        source: &mut impl ReadVolatile,
        address: GuestAddress,
        length: usize,
    ) -> Result<(), FillError> {
        let (mapping, offset) = self.range(address, length)?;
        let mut done = 0;
        while done < length {
            let failed = |source| FillError::Read {
                address: address.0,
                length,
                source,
            };
            let slice = mapping
                .get_slice(offset + done, length - done)
                .map_err(|error| failed(io::Error::other(error)))?;
            match slice.read_volatile_from(0, source, length - done) {
                Ok(0) => {
                    return Err(FillError::UnexpectedEnd {
                        address: address.0,
                        length,
                        read: done,
                    });
                }
                Ok(read) => done += read,
                Err(VolatileMemoryError::IOError(error)) => return Err(failed(error)),
                Err(other) => return Err(failed(io::Error::other(other))),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Seek, SeekFrom, Write};

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;
    use crate::{RamConfig, RamSize};

    fn ram() -> GuestRam {
        GuestRam::new(&RamConfig {
            size: RamSize::mebibytes(1),
            ..RamConfig::default()
        })
        .unwrap()
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|index| (index % 251) as u8).collect()
    }

    fn file_of(bytes: &[u8]) -> File {
        let mut file = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
        file.write_all(bytes).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file
    }

    /// Gives 7 bytes at a time, and is interrupted before each.
    struct Halting<'a>(&'a [u8], bool);

    impl Read for Halting<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let length = buffer.len().min(7);
            self.0.read(&mut buffer[..length])
        }
    }

    #[test]
    fn a_reader_that_halts_is_read_to_the_end() {
        let (ram, bytes) = (ram(), pattern(1000));
        ram.read_from(&mut Halting(&bytes, false), GuestAddress(3), 1000)
            .unwrap();
        let mut found = vec![0; 1000];
        ram.read_bytes(GuestAddress(3), &mut found).unwrap();
        assert_eq!(found, bytes);
    }

    #[test]
    fn more_than_a_buffer_is_read_in_order() {
        let (ram, bytes) = (ram(), pattern(300_000));
        ram.read_from(&mut bytes.as_slice(), GuestAddress(0x1001), bytes.len())
            .unwrap();
        let mut found = vec![0; bytes.len()];
        ram.read_bytes(GuestAddress(0x1001), &mut found).unwrap();
        assert_eq!(found, bytes);
    }

    #[test]
    fn a_file_is_read_from_where_it_stands() {
        let (ram, bytes) = (ram(), pattern(300_000));
        let mut file = file_of(&bytes);
        file.seek(SeekFrom::Start(5)).unwrap();
        ram.read_volatile_from(&mut file, GuestAddress(0x1001), 299_995)
            .unwrap();
        let mut found = vec![0; 299_995];
        ram.read_bytes(GuestAddress(0x1001), &mut found).unwrap();
        assert_eq!(found, bytes[5..]);
    }

    #[test]
    fn an_early_end_says_how_much_came() {
        let ram = ram();
        let expected = "only 10 of 20 bytes for 0x40 could be read before the end";
        let error = ram
            .read_from(&mut [0; 10].as_slice(), GuestAddress(0x40), 20)
            .unwrap_err();
        assert_eq!(error.to_string(), expected);
        let mut file = file_of(&[0; 10]);
        let error = ram
            .read_volatile_from(&mut file, GuestAddress(0x40), 20)
            .unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_range_outside_ram_is_told_before_anything_is_read() {
        let mut reader = [0; 10].as_slice();
        let error = ram()
            .read_from(&mut reader, GuestAddress((1 << 20) - 5), 10)
            .unwrap_err();
        assert!(matches!(error, FillError::Access(access) if access.address == (1 << 20) - 5));
        assert_eq!(reader.len(), 10);
    }

    #[test]
    fn a_failing_reader_is_the_cause() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let error = ram()
            .read_from(&mut Broken, GuestAddress(0), 10)
            .unwrap_err();
        let FillError::Read { source, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(source.kind(), io::ErrorKind::ConnectionReset);
        let mut directory = File::open("/").unwrap();
        let error = ram()
            .read_volatile_from(&mut directory, GuestAddress(0), 10)
            .unwrap_err();
        assert!(matches!(error, FillError::Read { .. }), "{error}");
    }
}
