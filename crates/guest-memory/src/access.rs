//! Checked access to RAM.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use vm_memory::bitmap::Bitmap;
use vm_memory::{ByteValued, GuestAddress, VolatileMemory};

use crate::discard::drop_pages;
use crate::mapping::Mapping;
use crate::{AccessError, GuestRam, PAGE_SIZE};

/// From how many bytes zero pages are had by dropping pages instead of writing them.
const LARGE_FILL: usize = 16 * PAGE_SIZE as usize;

impl GuestRam {
    /// Reads a value.
    ///
    /// # Errors
    /// [`AccessError`] where it is not wholly inside RAM; likewise for all below.
    #[inline]
    pub fn read<T: ByteValued>(&self, address: GuestAddress) -> Result<T, AccessError> {
        let mut value = T::zeroed();
        self.read_bytes(address, value.as_mut_slice())?;
        Ok(value)
    }

    /// Writes a value.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    #[inline]
    pub fn write<T: ByteValued>(&self, address: GuestAddress, value: T) -> Result<(), AccessError> {
        self.write_bytes(address, value.as_slice())
    }

    /// Fills `bytes` from RAM.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    #[inline]
    pub fn read_bytes(&self, address: GuestAddress, bytes: &mut [u8]) -> Result<(), AccessError> {
        let (mapping, offset) = self.range(address, bytes.len())?;
        if !load_at_once(mapping, offset, bytes) {
            let outside = |_| AccessError {
                address: address.0,
                length: bytes.len(),
            };
            mapping
                .get_slice(offset, bytes.len())
                .map_err(outside)?
                .copy_to(bytes);
        }
        Ok(())
    }

    /// Copies `bytes` to RAM.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    #[inline]
    pub fn write_bytes(&self, address: GuestAddress, bytes: &[u8]) -> Result<(), AccessError> {
        let (mapping, offset) = self.range(address, bytes.len())?;
        if !store_at_once(mapping, offset, bytes) {
            let outside = |_| AccessError {
                address: address.0,
                length: bytes.len(),
            };
            mapping
                .get_slice(offset, bytes.len())
                .map_err(outside)?
                .copy_from(bytes);
        }
        Ok(())
    }

    /// Makes the `length` bytes at `address` all `byte`. Zero is fast and frees memory: whole
    /// pages of a large range are given back to the host, which supplies zero pages when they are
    /// touched again (not with prefault or huge pages, which stay as they are).
    ///
    /// # Errors
    /// See [`read`](Self::read).
    pub fn fill(&self, address: GuestAddress, length: usize, byte: u8) -> Result<(), AccessError> {
        let (mapping, offset) = self.range(address, length)?;
        let end = offset + length;
        let page = PAGE_SIZE as usize;
        let first_page = offset.next_multiple_of(page);
        let last_page = end - end % page;
        let whole = last_page.saturating_sub(first_page);
        let pages = self.pages(address);
        if byte == 0 && whole >= LARGE_FILL && drop_pages(pages, mapping, first_page, whole) {
            set(mapping, offset, first_page - offset, 0);
            set(mapping, last_page, end - last_page, 0);
        } else {
            set(mapping, offset, length, byte);
        }
        mapping.bitmap().mark_dirty(offset, length);
        Ok(())
    }

    /// Replaces the value at `address`, a multiple of 8, by `new` if it is `current`, as a locked
    /// CMPXCHG of the guest would: `Ok(Ok(current))`, or `Ok(Err(found))`. It orders all accesses
    /// of this thread around it.
    ///
    /// # Errors
    /// See [`read`](Self::read); also where `address` is not a multiple of 8.
    pub fn compare_exchange_u64(
        &self,
        address: GuestAddress,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        let outside = |_| AccessError {
            address: address.0,
            length: size_of::<u64>(),
        };
        let (mapping, offset) = self.range(address, size_of::<u64>())?;
        let cell = mapping
            .get_atomic_ref::<AtomicU64>(offset)
            .map_err(outside)?;
        // Ordering: SeqCst, as the locked instruction of the guest's processors is.
        let result = cell.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst);
        if result.is_ok() {
            mapping.bitmap().mark_dirty(offset, size_of::<u64>());
        }
        Ok(result)
    }

    /// The address in this process of the `length` bytes at `address`, for system calls and
    /// ioctls. It is valid as long as any clone of this RAM lives; what is written through it is
    /// not in the dirty log.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    pub fn host_address(&self, address: GuestAddress, length: usize) -> Result<u64, AccessError> {
        let (mapping, offset) = self.range(address, length)?;
        Ok(mapping.as_ptr() as u64 + offset as u64)
    }

    /// The mapping and the offset there of a range that is wholly inside it.
    #[inline]
    pub(crate) fn range(
        &self,
        address: GuestAddress,
        length: usize,
    ) -> Result<(&Mapping, usize), AccessError> {
        let (mapping, offset) = self.shared_range(address, length)?;
        Ok((mapping, offset))
    }

    /// As [`range`](Self::range), with the mapping as it is shared.
    #[inline]
    pub(crate) fn shared_range(
        &self,
        address: GuestAddress,
        length: usize,
    ) -> Result<(&Arc<Mapping>, usize), AccessError> {
        self.locate(address)
            .filter(|(mapping, offset)| {
                offset
                    .checked_add(length)
                    .is_some_and(|end| end <= mapping.size())
            })
            .ok_or(AccessError {
                address: address.0,
                length,
            })
    }
}

/// Fills `bytes` by one load where their number and address allow; `false` if not.
#[inline]
fn load_at_once(mapping: &Mapping, offset: usize, bytes: &mut [u8]) -> bool {
    macro_rules! load {
        ($atomic:ty) => {
            mapping.get_atomic_ref::<$atomic>(offset).is_ok_and(|cell| {
                // Ordering: plain accesses of RAM promise none; a caller that needs one has a window's.
                bytes.copy_from_slice(&cell.load(Ordering::Relaxed).to_ne_bytes());
                true
            })
        };
    }
    match bytes.len() {
        8 => load!(AtomicU64),
        4 => load!(AtomicU32),
        2 => load!(AtomicU16),
        1 => load!(AtomicU8),
        _ => false,
    }
}

/// Writes `bytes` by one store where their number and address allow; `false` if not.
#[inline]
fn store_at_once(mapping: &Mapping, offset: usize, bytes: &[u8]) -> bool {
    macro_rules! store {
        ($atomic:ty, $integer:ty) => {
            bytes.try_into().is_ok_and(|bytes| {
                mapping.get_atomic_ref::<$atomic>(offset).is_ok_and(|cell| {
                    // Ordering: as of a load.
                    cell.store(<$integer>::from_ne_bytes(bytes), Ordering::Relaxed);
                    mapping.bitmap().mark_dirty(offset, size_of::<$integer>());
                    true
                })
            })
        };
    }
    match bytes.len() {
        8 => store!(AtomicU64, u64),
        4 => store!(AtomicU32, u32),
        2 => store!(AtomicU16, u16),
        1 => store!(AtomicU8, u8),
        _ => false,
    }
}

/// Sets the bytes of a range inside `mapping`.
fn set(mapping: &Mapping, offset: usize, length: usize, byte: u8) {
    let Ok(slice) = mapping.get_slice(offset, length) else {
        return;
    };
    let guard = slice.ptr_guard_mut();
    // SAFETY: `get_slice` checked that the `length` bytes lie in `mapping`, which is borrowed and
    // so stays mapped for writing; guest RAM is never borrowed as a Rust reference to plain data.
    unsafe { guard.as_ptr().write_bytes(byte, length) };
}

#[cfg(test)]
mod tests;
