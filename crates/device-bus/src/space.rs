//! The two address spaces of a PC.

use vm_device::bus::{MmioAddress, PioAddress};
use vm_device::{DeviceMmio, DevicePio};

/// An address space and what devices in it look like: [`Ports`] or [`Mmio`], no other.
pub trait Space: sealed::Sealed + Send + Sync + 'static {
    /// A device of this space.
    type Device: ?Sized + Send + Sync;

    /// The name of its addresses in messages.
    const ADDRESSES: &'static str;

    /// The last address.
    const LAST: u64;

    /// Views remember owners for granules of 2 to this power.
    #[doc(hidden)]
    const GRANULE_BITS: u32;

    /// Reads from `device`, whose range begins at `base`.
    #[doc(hidden)]
    fn read(device: &Self::Device, base: u64, offset: u64, data: &mut [u8]);

    /// Writes to `device`, whose range begins at `base`.
    #[doc(hidden)]
    fn write(device: &Self::Device, base: u64, offset: u64, data: &[u8]);
}

/// The 65,536 I/O ports (Intel SDM volume 1, section 19.3).
#[derive(Clone, Copy, Debug)]
pub enum Ports {}

/// Guest-physical memory that is not RAM.
#[derive(Clone, Copy, Debug)]
pub enum Mmio {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Ports {}
    impl Sealed for super::Mmio {}
}

impl Space for Ports {
    type Device = dyn DevicePio + Send + Sync;
    const ADDRESSES: &'static str = "ports";
    const LAST: u64 = 0xffff;
    const GRANULE_BITS: u32 = 3;

    // The casts lose nothing: ranges end at LAST, and offsets lie inside ranges.
    #[inline]
    fn read(device: &Self::Device, base: u64, offset: u64, data: &mut [u8]) {
        device.pio_read(PioAddress(base as u16), offset as u16, data);
    }

    #[inline]
    fn write(device: &Self::Device, base: u64, offset: u64, data: &[u8]) {
        device.pio_write(PioAddress(base as u16), offset as u16, data);
    }
}

impl Space for Mmio {
    type Device = dyn DeviceMmio + Send + Sync;
    const ADDRESSES: &'static str = "addresses";
    const LAST: u64 = u64::MAX;
    const GRANULE_BITS: u32 = 8;

    #[inline]
    fn read(device: &Self::Device, base: u64, offset: u64, data: &mut [u8]) {
        device.mmio_read(MmioAddress(base), offset, data);
    }

    #[inline]
    fn write(device: &Self::Device, base: u64, offset: u64, data: &[u8]) {
        device.mmio_write(MmioAddress(base), offset, data);
    }
}
