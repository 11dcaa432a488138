//! The device on a bus of ports.

use std::collections::BTreeMap;
use std::fmt;

use parking_lot::Mutex;
use vmmkit_device_bus::{DevicePio, Lifecycle, PioAddress, PioAddressOffset};
use vmmkit_guest_memory::GuestRam;
use vmmkit_telemetry::{Inspect, Tree};

use crate::Items;
use crate::spec::{DATA, DMA, DMA_SIGNATURE, ITEM_MASK, PORTS, SELECTOR};

/// The registers that the guest can see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registers {
    /// The item that is selected.
    pub(crate) selector: u16,
    /// The next byte of it, perhaps beyond its end.
    pub(crate) offset: u32,
    /// The high half of the address of a DMA request.
    pub(crate) dma_high: u32,
}

/// The device. Any thread may access it.
pub struct FwCfg {
    pub(crate) registers: Mutex<Registers>,
    // Fixed at creation
    items: BTreeMap<u16, Box<[u8]>>,
    /// The names and sizes of the files.
    files: Vec<(String, usize)>,
    pub(crate) ram: GuestRam,
}

impl FwCfg {
    /// Its name on a bus.
    pub const NAME: &'static str = "fw-cfg";
    /// Its selector, the first of its ports.
    pub const PORT: u16 = SELECTOR;
    /// How many ports it has.
    pub const LENGTH: u16 = PORTS;

    /// A device with `items`, whose DMA requests lie in `ram`.
    pub fn new(items: Items, ram: &GuestRam) -> Self {
        let files = items.files().map(|(name, size)| (name.to_owned(), size));
        Self {
            registers: Mutex::default(),
            files: files.collect(),
            items: items.numbered(),
            ram: ram.clone(),
        }
    }

    /// Goes back to power-on.
    pub fn reset(&self) {
        *self.registers.lock() = Registers::default();
    }

    /// The bytes from the next one of the selected item on; none of an item that is not there.
    pub(crate) fn rest(&self, registers: &Registers) -> &[u8] {
        let item = self.items.get(&(registers.selector & ITEM_MASK));
        let offset = usize::try_from(registers.offset).unwrap_or(usize::MAX);
        item.and_then(|item| item.get(offset..)).unwrap_or_default()
    }

    /// The next byte of the selected item; 0 beyond its end.
    fn next(&self) -> u8 {
        let mut registers = self.registers.lock();
        let byte = self.rest(&registers).first().copied();
        registers.offset = registers.offset.saturating_add(1);
        byte.unwrap_or_default()
    }
}

/// The ports from [`SELECTOR`] on.
const DATA_OFFSET: u16 = DATA - SELECTOR;
const DMA_OFFSET: u16 = DMA - SELECTOR;

impl DevicePio for FwCfg {
    fn pio_read(&self, _base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        if offset == DATA_OFFSET {
            // An access of several bytes reads as many.
            data.iter_mut().for_each(|byte| *byte = self.next());
            return;
        }
        let signature = DMA_SIGNATURE.iter().copied().zip(DMA_OFFSET..);
        for (port, byte) in (offset..=u16::MAX).zip(data) {
            let mut signature = signature.clone();
            let found = signature.find(|(_, at)| *at == port);
            // The selector is write only.
            *byte = found.map_or(0, |(byte, _)| byte);
        }
    }

    fn pio_write(&self, _base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        if let (0, Ok(selector)) = (offset, data.try_into()) {
            let mut registers = self.registers.lock();
            registers.selector = u16::from_le_bytes(selector);
            registers.offset = 0;
            return;
        }
        let Ok(half) = data.try_into().map(u32::from_be_bytes) else {
            return; // not a width of its registers, or the data, which is read only
        };
        let mut registers = self.registers.lock();
        if offset == DMA_OFFSET {
            registers.dma_high = half;
        } else if offset == DMA_OFFSET + 4 {
            let high = std::mem::take(&mut registers.dma_high);
            let address = u64::from(high) << 32 | u64::from(half);
            self.transfer(&mut registers, address);
        }
    }
}

impl Lifecycle for FwCfg {
    fn reset(&self) {
        self.reset();
    }
}

impl Inspect for FwCfg {
    fn inspect(&self) -> Tree {
        let registers = *self.registers.lock();
        let files = self.files.iter().fold(Tree::new(), |tree, (name, size)| {
            tree.number(name.clone(), *size as u64)
        });
        Tree::new()
            .hex("selector", registers.selector)
            .number("offset", u64::from(registers.offset))
            .tree("files", files)
    }
}

impl fmt::Debug for FwCfg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FwCfg")
            .field("registers", &*self.registers.lock())
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
