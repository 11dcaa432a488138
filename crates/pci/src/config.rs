//! The configuration space of a function: bytes, of which the guest may write some.

use std::ops::Range;

use thiserror::Error;
use vmmkit_device_bus::{AddressRange, StateError, StateReason};

use crate::spec::{CONFIG_SIZE, bar, command, header, status};

/// The identity of a function (PCI 3.0, section 6.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Its revision.
    pub revision: u8,
    /// Class, subclass and interface.
    pub class: [u8; 3],
    /// Subsystem vendor ID: the maker of the board.
    pub subsystem_vendor: u16,
    /// Subsystem ID: the board.
    pub subsystem: u16,
}

/// Why a configuration space cannot be as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A base address of 64 bits is register 0, 2 or 4, and a power of 2 in size.
    #[error("base address {index} of {size:#x} bytes: it cannot be one, or is taken")]
    Bar {
        /// Its number.
        index: u8,
        /// Its size in bytes.
        size: u64,
    },
    /// The capabilities are larger than the space.
    #[error("no room for capability {id:#x} of {size} bytes")]
    Capability {
        /// Its ID.
        id: u8,
        /// Its size in bytes.
        size: usize,
    },
}

/// The configuration space of a function with a type 0 header: without lock, bus or device.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    // Fixed at creation
    /// Which bits the guest may write.
    writable: [u8; CONFIG_SIZE],
    initial: [u8; CONFIG_SIZE],
    bars: Vec<(u8, u64)>,
    /// Where the offset of the next capability goes, and which it will be.
    next_link: usize,
    next_capability: usize,
    // What the guest can see
    bytes: [u8; CONFIG_SIZE],
}

impl ConfigSpace {
    /// A function without base addresses and capabilities.
    pub fn new(identity: &Identity) -> Self {
        let mut space = Self {
            writable: [0; CONFIG_SIZE],
            initial: [0; CONFIG_SIZE],
            bars: Vec::new(),
            next_link: header::CAPABILITIES,
            next_capability: header::END,
            bytes: [0; CONFIG_SIZE],
        };
        let [class, subclass, interface] = identity.class;
        space.set(header::VENDOR, &identity.vendor.to_le_bytes());
        space.set(header::DEVICE, &identity.device.to_le_bytes());
        space.set(header::REVISION, &[identity.revision]);
        space.set(header::CLASS, &[interface, subclass, class]);
        let subsystem_vendor = identity.subsystem_vendor.to_le_bytes();
        space.set(header::SUBSYSTEM_VENDOR, &subsystem_vendor);
        space.set(header::SUBSYSTEM, &identity.subsystem.to_le_bytes());
        let used = command::MEMORY | command::MASTER | command::INTERRUPT_DISABLE;
        copy(&mut space.writable, header::COMMAND, &used.to_le_bytes());
        copy(&mut space.writable, header::CACHE_LINE, &[0xff]);
        copy(&mut space.writable, header::INTERRUPT_LINE, &[0xff]);
        space
    }

    /// Adds a base address in memory of 64 bits: registers `index` and `index + 1` for `size` bytes,
    /// at address 0, which is nowhere.
    ///
    /// # Errors
    /// [`ConfigError::Bar`].
    pub fn add_bar(
        &mut self,
        index: u8,
        size: u64,
        is_prefetchable: bool,
    ) -> Result<(), ConfigError> {
        let is_taken = self.bars.iter().any(|(taken, _)| *taken == index);
        if !matches!(index, 0 | 2 | 4) || is_taken || !size.is_power_of_two() || size < bar::LEAST {
            return Err(ConfigError::Bar { index, size });
        }
        let prefetchable = if is_prefetchable {
            bar::PREFETCHABLE
        } else {
            0
        };
        let register = bar_register(index);
        self.set(register, &(bar::MEMORY_64 | prefetchable).to_le_bytes());
        // A guest that writes ones sees the size by the zeroes (PCI 6.2.5.1).
        copy(&mut self.writable, register, &(!(size - 1)).to_le_bytes());
        self.bars.push((index, size));
        Ok(())
    }

    /// Adds a capability: `body` behind its ID and link, of which the guest may write the bits that
    /// are set in `writable`. Its offset.
    ///
    /// # Errors
    /// [`ConfigError::Capability`].
    pub fn add_capability(
        &mut self,
        id: u8,
        body: &[u8],
        writable: &[u8],
    ) -> Result<u8, ConfigError> {
        let start = self.next_capability;
        let end = start + 2 + body.len();
        let size = body.len() + 2;
        let offset = u8::try_from(start)
            .ok()
            .filter(|_| end <= CONFIG_SIZE)
            .ok_or(ConfigError::Capability { id, size })?;
        self.set(start, &[id, 0]);
        self.set(start + 2, body);
        let writable = writable.get(..body.len()).unwrap_or(writable);
        copy(&mut self.writable, start + 2, writable);
        self.set(self.next_link, &[offset]);
        self.set(header::STATUS, &status::CAPABILITIES.to_le_bytes());
        self.next_link = start + 1;
        self.next_capability = end.next_multiple_of(4);
        Ok(offset)
    }

    /// Sets `register`, one behind the header that no capability is in: `initial` at power-on, of which the guest
    /// may write the bits that are set in `writable`.
    pub fn set_register(&mut self, register: usize, initial: &[u8], writable: &[u8]) {
        self.set(register, initial);
        copy(&mut self.writable, register, writable);
    }

    /// The base addresses: number and size in bytes.
    pub fn bars(&self) -> &[(u8, u64)] {
        &self.bars
    }

    /// Puts base address `index` at `base`, now and after each reset, as firmware does.
    pub fn place_bar(&mut self, index: u8, base: u64) {
        let Some((_, size)) = self.bars.iter().find(|(bar, _)| *bar == index) else {
            return;
        };
        let register = bar_register(index);
        let kind = self.number(register, 4) & 0xf;
        let value = (base & !(size - 1)) | kind;
        self.set(register, &value.to_le_bytes());
    }

    /// Where the base addresses are decoded: nowhere unless the command register says so, and not at
    /// address 0.
    pub fn decoded(&self) -> impl Iterator<Item = (u8, AddressRange)> + '_ {
        let is_on = self.command() & command::MEMORY != 0;
        let place = |(index, size): &(u8, u64)| {
            let base = self.number(bar_register(*index), 8) & !(size - 1);
            (*index, AddressRange::new(base, *size))
        };
        let bars = self.bars.iter().map(place);
        bars.filter(move |(_, range)| is_on && range.base != 0)
    }

    /// The command register.
    pub fn command(&self) -> u16 {
        self.number(header::COMMAND, 2) as u16
    }

    /// Whether the guest lets the function access memory itself.
    pub fn is_master(&self) -> bool {
        self.command() & command::MASTER != 0
    }

    /// Says in the status register whether the function would use its interrupt pin.
    pub fn set_interrupt_status(&mut self, is_raised: bool) {
        let mut value = self.number(header::STATUS, 2) as u16 & !status::INTERRUPT;
        if is_raised {
            value |= status::INTERRUPT;
        }
        copy(&mut self.bytes, header::STATUS, &value.to_le_bytes());
    }

    /// Reads from `register`; zeroes beyond the space.
    pub fn read(&self, register: usize, data: &mut [u8]) {
        data.fill(0);
        for (byte, value) in data.iter_mut().zip(self.bytes.iter().skip(register)) {
            *byte = *value;
        }
    }

    /// Writes to `register`: the bits that may be written.
    pub fn write(&mut self, register: usize, data: &[u8]) {
        let bytes = self.bytes.iter_mut().zip(&self.writable).skip(register);
        for ((byte, writable), value) in bytes.zip(data) {
            *byte = (*byte & !writable) | (value & writable);
        }
    }

    /// Back to the state at power-on, base addresses placed.
    pub fn reset(&mut self) {
        self.bytes = self.initial;
    }

    /// The space as it is, to be saved: 256 bytes.
    pub fn save(&self) -> Vec<u8> {
        self.bytes.to_vec()
    }

    /// Checks that `saved` can be the space of this function of the part `part`: only bits that the guest may
    /// write differ from those at power-on, and the interrupt status.
    ///
    /// # Errors
    /// The byte that cannot be so.
    pub fn check(&self, part: &str, saved: &[u8]) -> Result<(), StateError> {
        if saved.len() != CONFIG_SIZE {
            let here = format!("{CONFIG_SIZE} bytes").into();
            let reason = StateReason::Differs { here };
            return Err(StateError::field(part, "length", saved.len(), reason));
        }
        let bytes = saved.iter().zip(&self.initial).zip(&self.writable);
        for (register, ((saved, initial), writable)) in bytes.enumerate() {
            let status = header::STATUS..header::STATUS + 2;
            if !status.contains(&register) && (saved ^ initial) & !writable != 0 {
                let here = format!("{initial:#04x}, of which {writable:#04x} can change");
                let reason = StateReason::Differs { here: here.into() };
                let field = format!("[{register:#04x}]");
                let value = format_args!("{saved:#04x}");
                return Err(StateError::field(part, &field, value, reason));
            }
        }
        Ok(())
    }

    /// Restores what was saved, as far as the guest could have written it.
    ///
    /// # Errors
    /// As [`check`](Self::check); the space is unchanged then.
    pub fn restore(&mut self, part: &str, saved: &[u8]) -> Result<(), StateError> {
        self.check(part, saved)?;
        self.write(0, saved);
        Ok(())
    }

    /// Sets bytes that the guest finds at power-on.
    fn set(&mut self, register: usize, bytes: &[u8]) {
        copy(&mut self.initial, register, bytes);
        copy(&mut self.bytes, register, bytes);
    }

    /// The number of `width` bytes at `register`.
    fn number(&self, register: usize, width: usize) -> u64 {
        let mut bytes = [0; 8];
        if let Some(part) = bytes.get_mut(..width) {
            self.read(register, part);
        }
        u64::from_le_bytes(bytes)
    }
}

fn bar_register(index: u8) -> usize {
    header::BAR + 4 * usize::from(index)
}

fn copy(space: &mut [u8; CONFIG_SIZE], register: usize, bytes: &[u8]) {
    for (byte, value) in space.iter_mut().skip(register).zip(bytes) {
        *byte = *value;
    }
}

/// The registers of an access.
pub(crate) fn touches(register: usize, length: usize, registers: &Range<usize>) -> bool {
    register < registers.end && registers.start < register.saturating_add(length)
}

#[cfg(test)]
mod tests;
