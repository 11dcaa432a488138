//! The bus: functions in their slots, and their base addresses on the memory bus.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;
use thiserror::Error;
use vmmkit_device_bus::{AddressRange, DeviceMmio, Lifecycle, MmioAddress, MmioBus};

use crate::config::touches;
use crate::spec::{CONFIG_SIZE, DEVICES, header};
use crate::{ConfigError, MsixError, PciFunction, PciLayout};

/// Why a function cannot be plugged in.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PciError {
    /// All 32 slots are taken.
    #[error("{name}: a PCI bus has room for 32 devices, and all are there")]
    Full {
        /// The function.
        name: Arc<str>,
    },
    /// The slot has a device, or is none of the 32.
    #[error("{name}: there is no free slot {device:#x} on the PCI bus")]
    Taken {
        /// The function.
        name: Arc<str>,
        /// The number of the slot.
        device: u8,
    },
    /// The machine has no PCI bus.
    #[error("a PCI function needs a machine with a PCI bus")]
    NoBus,
    /// The configuration space of the function cannot be made.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The interrupts of the function cannot be made.
    #[error(transparent)]
    Msix(#[from] MsixError),
    /// The window is too small.
    #[error("{name}: base address {bar} needs {size:#x} bytes, but {window} is full")]
    Window {
        /// The function.
        name: Arc<str>,
        /// The number of its base address.
        bar: u8,
        /// Its size in bytes.
        size: u64,
        /// Where base addresses are placed.
        window: AddressRange,
    },
}

/// Bus 0. Any thread may call anything; an access holds no lock of the bus while a function works
/// on it.
///
/// Lock order: the slots, or what is plugged of one function; then that function's configuration
/// space, the memory bus, and whatever [`PciFunction::moved`] takes.
pub struct PciBus {
    /// Not owned: it owns this bus, by the configuration spaces that are plugged into it.
    memory: Weak<MmioBus>,
    layout: PciLayout,
    /// By the number of the device.
    slots: Mutex<BTreeMap<u8, Arc<Slot>>>,
    // Ordering: a count.
    conflicts: AtomicU64,
}

/// A function in its slot.
struct Slot {
    function: Arc<dyn PciFunction>,
    /// Where the bus placed its base addresses.
    places: Vec<AddressRange>,
    /// The base addresses on the memory bus.
    plugged: Mutex<Vec<(u8, AddressRange)>>,
}

impl PciBus {
    /// A bus without functions, whose base addresses go to `memory` for as long as that is there.
    pub fn new(memory: &Arc<MmioBus>, layout: PciLayout) -> Self {
        Self {
            memory: Arc::downgrade(memory),
            layout,
            slots: Mutex::default(),
            conflicts: AtomicU64::new(0),
        }
    }

    /// Plugs `function` into the first free slot, and places its base addresses as firmware would. The
    /// number of its device; the first is 0. A guest that runs does not notice.
    ///
    /// # Errors
    /// [`PciError`]: no slot, or no room in the window.
    pub fn plug(&self, function: Arc<dyn PciFunction>) -> Result<u8, PciError> {
        let mut slots = self.slots.lock();
        let device = (0..DEVICES).find(|device| !slots.contains_key(device));
        let Some(device) = device else {
            let name = function.name();
            return Err(PciError::Full { name });
        };
        self.plug_into(&mut slots, device, function)?;
        Ok(device)
    }

    /// Plugs `function` in as the device of this number, for those that a guest looks for at one place.
    ///
    /// # Errors
    /// [`PciError`]: the slot is taken, or there is no room in the window.
    pub fn plug_at(&self, device: u8, function: Arc<dyn PciFunction>) -> Result<(), PciError> {
        let mut slots = self.slots.lock();
        if device >= DEVICES || slots.contains_key(&device) {
            let name = function.name();
            return Err(PciError::Taken { name, device });
        }
        self.plug_into(&mut slots, device, function)
    }

    fn plug_into(
        &self,
        slots: &mut BTreeMap<u8, Arc<Slot>>,
        device: u8,
        function: Arc<dyn PciFunction>,
    ) -> Result<(), PciError> {
        let name = function.name();
        let placed = slots.values().flat_map(|slot| slot.places.clone());
        let mut taken: Vec<_> = placed.collect();
        let others = taken.len();
        let mut config = function.config().lock();
        for (bar, size) in config.bars().to_vec() {
            let place = self.layout.place(&taken, size).ok_or(PciError::Window {
                name: name.clone(),
                bar,
                size,
                window: self.layout.window,
            })?;
            config.place_bar(bar, place.base);
            taken.push(place);
        }
        drop(config);
        let slot = Slot {
            function,
            places: taken.split_off(others),
            plugged: Mutex::default(),
        };
        slots.insert(device, Arc::new(slot));
        Ok(())
    }

    /// Reads a register of the only function of `device`: all ones where there is no such device.
    /// The access lies inside one double word.
    pub fn read_config(&self, device: u8, register: usize, data: &mut [u8]) {
        match self.slot(device) {
            // A conventional function has no more (PCIe 7.2.2).
            Some(_) if register >= CONFIG_SIZE => data.fill(0),
            Some(slot) => slot.function.read_config(register, data),
            None => data.fill(0xff),
        }
    }

    /// Writes a register of the only function of `device`. The access lies inside one double word.
    pub fn write_config(&self, device: u8, register: usize, data: &[u8]) {
        let Some(slot) = self.slot(device).filter(|_| register < CONFIG_SIZE) else {
            return;
        };
        slot.function.write_config(register, data);
        if touches(register, data.len(), &(header::COMMAND..header::BAR_END)) {
            self.settle(&slot);
        }
    }

    /// Plugs all base addresses in where the configuration spaces have them: call it after a restore
    /// of functions.
    pub fn settle_all(&self) {
        for slot in self.slots() {
            self.settle(&slot);
        }
    }

    /// How often a base address could not be decoded where the guest put it, as something else was
    /// there.
    pub fn conflicts(&self) -> u64 {
        self.conflicts.load(Ordering::Relaxed)
    }

    /// The functions, by the number of their devices.
    pub fn functions(&self) -> Vec<Arc<dyn PciFunction>> {
        let slots = self.slots();
        slots.iter().map(|slot| slot.function.clone()).collect()
    }

    /// Plugs the base addresses of one function in where it has them, and out where not.
    fn settle(&self, slot: &Slot) {
        let Some(memory) = self.memory.upgrade() else {
            return;
        };
        let function = &slot.function;
        let mut plugged = slot.plugged.lock();
        let wanted: Vec<_> = function.config().lock().decoded().collect();
        plugged.retain(|place| {
            let stays = wanted.contains(place);
            if !stays {
                memory.unplug(place.1.base);
                function.moved(place.0, None);
            }
            stays
        });
        for (bar, range) in wanted {
            if plugged.contains(&(bar, range)) {
                continue;
            }
            let window = Arc::new(BarWindow {
                function: function.clone(),
                bar,
            });
            if memory.plug(function.name(), range, window).is_ok() {
                plugged.push((bar, range));
                function.moved(bar, Some(range.base));
            } else {
                self.conflicts.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn slot(&self, device: u8) -> Option<Arc<Slot>> {
        self.slots.lock().get(&device).cloned()
    }

    fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().values().cloned().collect()
    }
}

/// Hands each step on to the functions, in their order.
impl Lifecycle for PciBus {
    fn start(&self) -> io::Result<()> {
        let slots = self.slots();
        slots.iter().try_for_each(|slot| slot.function.start())
    }

    fn pause(&self) {
        for slot in self.slots().iter().rev() {
            slot.function.pause();
        }
    }

    fn wait_paused(&self) {
        for slot in self.slots().iter().rev() {
            slot.function.wait_paused();
        }
    }

    fn wait_paused_until(&self, deadline: Instant) -> bool {
        let slots = self.slots();
        let mut functions = slots.iter().rev().map(|slot| &slot.function);
        functions.all(|function| function.wait_paused_until(deadline))
    }

    fn resume(&self) {
        for slot in self.slots() {
            slot.function.resume();
        }
    }

    fn reset(&self) {
        for slot in self.slots() {
            slot.function.reset();
            self.settle(&slot);
        }
    }

    fn stop(&self) {
        for slot in self.slots().iter().rev() {
            slot.function.stop();
        }
    }
}

impl fmt::Debug for PciBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.functions().iter().map(|f| f.name()).collect();
        f.debug_struct("PciBus")
            .field("layout", &self.layout)
            .field("functions", &names)
            .field("conflicts", &self.conflicts)
            .finish_non_exhaustive()
    }
}

/// The window of a base address on the memory bus.
struct BarWindow {
    function: Arc<dyn PciFunction>,
    bar: u8,
}

impl DeviceMmio for BarWindow {
    fn mmio_read(&self, _base: MmioAddress, offset: u64, data: &mut [u8]) {
        self.function.read_bar(self.bar, offset, data);
    }

    fn mmio_write(&self, _base: MmioAddress, offset: u64, data: &[u8]) {
        self.function.write_bar(self.bar, offset, data);
    }
}

#[cfg(test)]
mod tests;
