//! A flash chip with Intel's command set: the memory in which UEFI firmware keeps its variables.
//!
//! Its contents are with the owner too, by a [`FlashStore`], before the guest is told that they were written. Plug it
//! in right below the firmware. It is read by exits, 8 bytes each.

mod chip;
pub mod spec;
mod state;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use vmmkit_device_bus::{DeviceMmio, Lifecycle, MmioAddress, MmioAddressOffset};
use vmmkit_telemetry::{Inspect, Tree};

use chip::{Change, Chip};

/// Keeps the contents of a flash chip, such as in a file. vCPU threads call it, one at a time.
pub trait FlashStore: Send {
    /// Writes `bytes` from `offset` on.
    ///
    /// # Errors
    /// The host's: the guest is told that the operation failed, and the chip holds what it held.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// All that was written survives a failure of the host's power from now on.
    ///
    /// # Errors
    /// The host's: it is counted, and the guest learns nothing of it.
    fn flush(&mut self) -> io::Result<()>;
}

/// The chip on a bus. Any thread may access it.
pub struct Flash {
    inner: Mutex<Inner>,
    // Ordering: counts.
    writes: AtomicU64,
    failures: AtomicU64,
}

struct Inner {
    chip: Chip,
    store: Box<dyn FlashStore>,
    /// Something was written since the last flush.
    is_dirty: bool,
}

impl Flash {
    /// Its name on a bus.
    pub const NAME: &'static str = "flash";
    /// The most bytes that it can hold.
    pub const MAX_SIZE: usize = 16 << 20;

    /// A chip that holds `contents`, as `store` does.
    ///
    /// # Errors
    /// [`FlashSizeError`]: blocks of 4 KiB, up to 16 MiB.
    pub fn new(
        contents: impl Into<Box<[u8]>>,
        store: Box<dyn FlashStore>,
    ) -> Result<Self, FlashSizeError> {
        let contents = contents.into();
        let size = contents.len();
        if size == 0 || size > Self::MAX_SIZE || !(size as u64).is_multiple_of(spec::BLOCK) {
            return Err(FlashSizeError { size: size as u64 });
        }
        Ok(Self {
            inner: Mutex::new(Inner {
                chip: Chip::new(contents),
                store,
                is_dirty: false,
            }),
            writes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })
    }

    /// Goes back to power-on: what it holds stays.
    pub fn reset(&self) {
        self.inner.lock().chip.reset();
    }

    fn count(&self, done: &io::Result<()>) {
        let counter = match done {
            Ok(()) => &self.writes,
            Err(_) => &self.failures,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Not a size that a flash chip can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlashSizeError {
    /// The size in bytes.
    pub size: u64,
}

impl fmt::Display for FlashSizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, max) = (self.size, Flash::MAX_SIZE);
        write!(
            f,
            "{size} bytes is not a multiple of {} up to {max}",
            spec::BLOCK
        )
    }
}

impl std::error::Error for FlashSizeError {}

impl DeviceMmio for Flash {
    fn mmio_read(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        self.inner.lock().chip.read(offset, data);
    }

    fn mmio_write(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        let Inner {
            chip,
            store,
            is_dirty,
        } = &mut *self.inner.lock();
        match chip.write(offset, data) {
            Change::None => {}
            Change::Bytes { offset, bytes } => {
                let done = store.write(offset, &bytes);
                self.count(&done);
                *is_dirty |= done.is_ok();
                chip.complete(offset, &bytes, done.is_ok());
            }
            // Firmware goes back to reading at the end of each step that later ones build on.
            Change::End if *is_dirty => match store.flush() {
                Ok(()) => *is_dirty = false,
                error => self.count(&error),
            },
            Change::End => {}
        }
    }
}

impl Lifecycle for Flash {
    fn reset(&self) {
        self.reset();
    }
}

impl Inspect for Flash {
    fn inspect(&self) -> Tree {
        let inner = self.inner.lock();
        Tree::new()
            .number("size", inner.chip.size())
            .hex("status", inner.chip.status())
            .number("writes", self.writes.load(Ordering::Relaxed))
            .number("failures", self.failures.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Flash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flash")
            .field("size", &self.inner.lock().chip.size())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
