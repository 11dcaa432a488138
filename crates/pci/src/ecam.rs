//! Configuration spaces by memory (PCIe 7.2.2).

use std::fmt;
use std::sync::Arc;

use vmmkit_device_bus::{DeviceMmio, MmioAddress, MmioAddressOffset};

use crate::PciBus;

/// The configuration spaces of bus 0 in memory: plug it at [`PciLayout::ecam`](crate::PciLayout).
pub struct Ecam {
    bus: Arc<PciBus>,
}

impl Ecam {
    /// Its name on a bus.
    pub const NAME: &'static str = "pci configuration";

    /// The spaces of `bus`.
    pub fn new(bus: Arc<PciBus>) -> Self {
        Self { bus }
    }
}

/// Bus, device, function and register in an offset.
fn decode(offset: u64) -> (Option<u8>, usize) {
    let register = (offset & 0xfff) as usize;
    let function = (offset >> 12) & 7;
    let device = u8::try_from(offset >> 15).ok();
    (device.filter(|_| function == 0), register)
}

/// Bytes up to the end of the double word that `offset` is in.
fn rest(offset: u64, length: usize) -> usize {
    length.min(4 - (offset & 3) as usize)
}

impl DeviceMmio for Ecam {
    /// One double word after the other.
    fn mmio_read(&self, _base: MmioAddress, mut offset: MmioAddressOffset, mut data: &mut [u8]) {
        while let Some((part, left)) = data.split_at_mut_checked(rest(offset, data.len())) {
            if part.is_empty() {
                return;
            }
            match decode(offset) {
                (Some(device), register) => self.bus.read_config(device, register, part),
                (None, _) => part.fill(0xff),
            }
            offset += part.len() as u64;
            data = left;
        }
    }

    fn mmio_write(&self, _base: MmioAddress, mut offset: MmioAddressOffset, mut data: &[u8]) {
        while let Some((part, left)) = data.split_at_checked(rest(offset, data.len())) {
            if part.is_empty() {
                return;
            }
            if let (Some(device), register) = decode(offset) {
                self.bus.write_config(device, register, part);
            }
            offset += part.len() as u64;
            data = left;
        }
    }
}

impl fmt::Debug for Ecam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ecam").field("bus", &self.bus).finish()
    }
}
