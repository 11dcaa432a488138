//! MSI-X (PCI 6.8.2): a table that says which message each vector sends, and masks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use vmmkit_device_bus::{MsiMessage, MsiVector, StateError, StateReason};

use crate::spec::{capability, msix as spec};
use crate::{ConfigError, ConfigSpace};

/// Why MSI-X cannot be as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MsixError {
    /// A table has 1 to 2048 vectors.
    #[error("{0} MSI-X vectors: there must be 1 to 2048")]
    Count(usize),
}

/// The vectors of one function. The guest masks and unmasks them by the capability and the table; the
/// device signals them. A signal takes no lock.
///
/// A message is a write to memory, so there is none while the function is not a bus master (PCI 6.8.3.5):
/// what is signalled then is pending.
///
/// Vectors are connected and disconnected under the lock of the table, which so comes before theirs.
pub struct Msix {
    // Wiring
    vectors: Vec<Arc<dyn MsiVector>>,
    // What the guest can see
    is_enabled: AtomicBool,
    table: Mutex<Table>,
}

struct Table {
    control: u16,
    is_master: bool,
    entries: Vec<Entry>,
}

/// An entry of the table as the guest sees it, and what its vector is connected to.
#[derive(Clone, Copy, Debug)]
struct Entry {
    message: MsiMessage,
    control: u32,
    connected: Option<MsiMessage>,
}

/// The guest's side of a table: a part of the saved form of a function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MsixState {
    /// Message control.
    pub control: u16,
    /// Each vector.
    pub vectors: Vec<MsixVectorState>,
}

/// A vector of a saved table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MsixVectorState {
    /// The address of its message.
    pub address: u64,
    /// The data of its message.
    pub data: u32,
    /// Vector control.
    pub control: u32,
    /// Whether a signal is pending.
    pub is_pending: bool,
}

impl MsixState {
    /// Checks that it can be the state of a table of `count` vectors, of the part `part`.
    ///
    /// # Errors
    /// The field that cannot be so.
    pub fn check(&self, part: &str, count: u16) -> Result<(), StateError> {
        let bits = |field: &str, value: u64, allowed: u64| {
            StateError::check_bits(part, field, value, allowed)
        };
        if self.vectors.len() != usize::from(count) {
            let here = format!("{count} vectors").into();
            let reason = StateReason::Differs { here };
            let length = self.vectors.len();
            return Err(StateError::field(part, "vectors.length", length, reason));
        }
        let control = spec::ENABLE | spec::FUNCTION_MASK;
        bits("control", self.control.into(), control.into())?;
        for (index, vector) in self.vectors.iter().enumerate() {
            let field = |name| format!("vectors[{index}].{name}");
            // The two lowest bits of an address are always 0 (6.8.2.5).
            bits(&field("address"), vector.address, !3)?;
            let mask = spec::VECTOR_MASK.into();
            bits(&field("control"), vector.control.into(), mask)?;
        }
        Ok(())
    }
}

impl Msix {
    /// A table for `vectors`, all masked, of a function that is not a bus master.
    ///
    /// # Errors
    /// [`MsixError::Count`].
    pub fn new(vectors: Vec<Arc<dyn MsiVector>>) -> Result<Self, MsixError> {
        if vectors.is_empty() || vectors.len() > spec::MAX {
            return Err(MsixError::Count(vectors.len()));
        }
        let msix = Self {
            is_enabled: AtomicBool::new(false),
            table: Mutex::new(Table {
                control: 0,
                is_master: false,
                entries: vec![Entry::at_reset(); vectors.len()],
            }),
            vectors,
        };
        Ok(msix)
    }

    /// Adds the capability to `config`: the table at an offset in base address `bar`, the pending
    /// bits at another. Both are multiples of 8. The capability's offset; message control follows 2
    /// bytes behind.
    ///
    /// # Errors
    /// [`ConfigError`] where there is no room.
    pub fn add_to(
        &self,
        config: &mut ConfigSpace,
        bar: u8,
        table: u32,
        pending: u32,
    ) -> Result<u8, ConfigError> {
        let mut body = Vec::new();
        // The number less one; `new` has checked that it fits.
        let size = self.vectors.len().saturating_sub(1) as u16;
        body.extend(size.to_le_bytes());
        body.extend((table | u32::from(bar)).to_le_bytes());
        body.extend((pending | u32::from(bar)).to_le_bytes());
        let writable = (spec::ENABLE | spec::FUNCTION_MASK).to_le_bytes();
        config.add_capability(capability::MSIX, &body, &writable)
    }

    /// The number of vectors.
    pub fn count(&self) -> u16 {
        // At most 2048.
        self.vectors.len() as u16
    }

    /// Whether the guest uses MSI-X.
    #[inline]
    pub fn is_enabled(&self) -> bool {
        // Ordering: the driver enables MSI-X, by an exit, before it makes any work for the device.
        self.is_enabled.load(Ordering::Relaxed)
    }

    /// Signals `vector`: it interrupts the guest, or becomes pending. Without MSI-X, or without the
    /// vector, nothing happens.
    #[inline]
    pub fn signal(&self, vector: u16) {
        if let (true, Some(vector)) = (self.is_enabled(), self.vectors.get(usize::from(vector))) {
            vector.signal();
        }
    }

    /// The guest wrote message control.
    pub fn set_control(&self, control: u16) {
        let mut table = self.table.lock();
        let was_enabled = table.control & spec::ENABLE != 0;
        table.control = control & (spec::ENABLE | spec::FUNCTION_MASK);
        let is_enabled = table.control & spec::ENABLE != 0;
        self.is_enabled.store(is_enabled, Ordering::SeqCst);
        self.settle_all(&mut table);
        if was_enabled && !is_enabled {
            self.vectors.iter().for_each(|vector| vector.clear());
        }
    }

    /// The guest lets the function access memory, or not, by the command register
    /// ([`MASTER`](crate::spec::command::MASTER)).
    pub fn set_master(&self, is_master: bool) {
        let mut table = self.table.lock();
        table.is_master = is_master;
        self.settle_all(&mut table);
    }

    /// Reads the table from `offset`; zeroes beyond it.
    pub fn read_table(&self, offset: u64, data: &mut [u8]) {
        let table = self.table.lock();
        for (offset, byte) in (offset..).zip(data) {
            let entry = entry_of(offset).and_then(|index| table.entries.get(index));
            let image = entry.map_or([0; 16], Entry::image);
            *byte = image
                .get((offset % spec::ENTRY) as usize)
                .copied()
                .unwrap_or(0);
        }
    }

    /// Writes 4 or 8 bytes of the table, at a multiple of that; other writes are without effect.
    pub fn write_table(&self, offset: u64, data: &[u8]) {
        if !matches!(data.len(), 4 | 8) || !offset.is_multiple_of(data.len() as u64) {
            return;
        }
        let Some(index) = entry_of(offset) else {
            return;
        };
        let mut table = self.table.lock();
        let Some(entry) = table.entries.get_mut(index) else {
            return;
        };
        let mut image = entry.image();
        let place = (offset % spec::ENTRY) as usize;
        for (byte, value) in image.iter_mut().skip(place).zip(data) {
            *byte = *value;
        }
        entry.take(image);
        self.settle(&mut table, index);
    }

    /// Reads the pending bits from `offset`; zeroes beyond them. A vector that is not masked has none.
    pub fn read_pending(&self, offset: u64, data: &mut [u8]) {
        let table = self.table.lock();
        for (offset, byte) in (offset..).zip(data) {
            *byte = 0;
            let first = usize::try_from(offset)
                .unwrap_or(usize::MAX)
                .saturating_mul(8);
            for bit in 0..8 {
                let index = first.saturating_add(bit);
                let entry = table.entries.get(index);
                if let (Some(entry), Some(vector)) = (entry, self.vectors.get(index))
                    && entry.connected.is_none()
                    && vector.is_pending()
                {
                    *byte |= 1 << bit;
                }
            }
        }
    }

    /// Back to the state at power-on: not in use, no bus master, all vectors masked, nothing pending.
    pub fn reset(&self) {
        self.set_control(0);
        self.set_master(false);
        for entry in &mut self.table.lock().entries {
            *entry = Entry::at_reset();
        }
        self.vectors.iter().for_each(|vector| vector.clear());
    }

    /// Saves it. Call it at rest.
    pub fn save(&self) -> MsixState {
        let table = self.table.lock();
        let vectors = table.entries.iter().zip(&self.vectors);
        let saved = vectors.map(|(entry, vector)| {
            let MsiMessage { address, data } = entry.message;
            MsixVectorState {
                address,
                data,
                control: entry.control,
                is_pending: vector.is_pending(),
            }
        });
        MsixState {
            control: table.control,
            vectors: saved.collect(),
        }
    }

    /// Restores what was saved of the part `part`; what was pending comes when it is not masked. The function is
    /// no bus master, until [`set_master`](Self::set_master) says it.
    ///
    /// # Errors
    /// As [`MsixState::check`]; the table is unchanged then.
    pub fn restore(&self, part: &str, saved: &MsixState) -> Result<(), StateError> {
        saved.check(part, self.count())?;
        self.reset();
        let mut table = self.table.lock();
        let entries = table.entries.iter_mut().zip(&self.vectors);
        for ((entry, vector), saved) in entries.zip(&saved.vectors) {
            entry.message = MsiMessage {
                address: saved.address,
                data: saved.data,
            };
            entry.control = saved.control;
            if saved.is_pending {
                vector.signal();
            }
        }
        drop(table);
        self.set_control(saved.control);
        Ok(())
    }

    fn settle_all(&self, table: &mut Table) {
        for index in 0..self.vectors.len() {
            self.settle(table, index);
        }
    }

    /// Connects vector `index` as the guest wants it.
    fn settle(&self, table: &mut Table, index: usize) {
        let may_send = table.may_send();
        let (Some(entry), Some(vector)) = (table.entries.get_mut(index), self.vectors.get(index))
        else {
            return;
        };
        let is_masked = entry.control & spec::VECTOR_MASK != 0;
        let wanted = (may_send && !is_masked).then_some(entry.message);
        if entry.connected != wanted {
            entry.connected = wanted;
            vector.connect(wanted);
        }
    }
}

impl Table {
    /// Whether vectors that are not masked themselves send their messages.
    fn may_send(&self) -> bool {
        self.is_master && self.control & (spec::ENABLE | spec::FUNCTION_MASK) == spec::ENABLE
    }
}

impl Entry {
    fn at_reset() -> Self {
        Self {
            message: MsiMessage {
                address: 0,
                data: 0,
            },
            control: spec::VECTOR_MASK,
            connected: None,
        }
    }

    fn image(&self) -> [u8; 16] {
        let value = u128::from(self.message.address)
            | u128::from(self.message.data) << 64
            | u128::from(self.control) << 96;
        value.to_le_bytes()
    }

    fn take(&mut self, image: [u8; 16]) {
        let value = u128::from_le_bytes(image);
        // The two lowest bits of an address are always 0 (6.8.2.5).
        self.message.address = value as u64 & !3;
        self.message.data = (value >> 64) as u32;
        self.control = (value >> 96) as u32 & spec::VECTOR_MASK;
    }
}

/// The number of the entry that `offset` is in.
fn entry_of(offset: u64) -> Option<usize> {
    usize::try_from(offset / spec::ENTRY).ok()
}

impl fmt::Debug for Msix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Msix")
            .field("vectors", &self.vectors.len())
            .field("is_enabled", &self.is_enabled)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
