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
