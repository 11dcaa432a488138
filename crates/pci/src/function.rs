//! The interface of a function to its bus.

use std::sync::Arc;

use parking_lot::Mutex;
use vmmkit_device_bus::{Lifecycle, SaveState};

use crate::ConfigSpace;

/// A function of a device. vCPU threads call it, several at once. After a restore of functions
/// [`PciBus::settle_all`](crate::PciBus::settle_all) plugs their base addresses in.
pub trait PciFunction: Lifecycle + SaveState {
    /// Its name on the buses.
    fn name(&self) -> Arc<str>;

    /// Its configuration space, by which the bus finds and places base addresses. The bus holds the
    /// lock for no call of the function.
    fn config(&self) -> &Mutex<ConfigSpace>;

    /// Reads up to 4 bytes of one double word of the configuration space.
    fn read_config(&self, register: usize, data: &mut [u8]) {
        self.config().lock().read(register, data);
    }

    /// Writes up to 4 bytes of one double word of the configuration space.
    fn write_config(&self, register: usize, data: &[u8]) {
        self.config().lock().write(register, data);
    }

    /// Reads from what base address `bar` leads to.
    fn read_bar(&self, bar: u8, offset: u64, data: &mut [u8]) {
        let _ = (bar, offset);
        data.fill(0xff);
    }

    /// Writes to what base address `bar` leads to.
    fn write_bar(&self, bar: u8, offset: u64, data: &[u8]) {
        let _ = (bar, offset, data);
    }

    /// Base address `bar` is decoded at `base` from now on, or nowhere. Calls for one function come
    /// one after the other; it must not access the bus.
    fn moved(&self, bar: u8, base: Option<u64>) {
        let _ = (bar, base);
    }
}
