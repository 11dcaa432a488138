//! The I/O APIC, an Intel 82093AA, for hypervisors that emulate local APICs only.
//!
//! An interrupt leaves it as the message that the pin's entry stands for. Lines say whether they are
//! asserted, so the polarity of an entry is kept and has no meaning. A level-triggered interrupt
//! comes again after its [end](Ioapic::end_of_interrupt) while its line is high.

mod pins;
pub mod spec;
mod state;

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use vmmkit_device_bus::{
    DeviceMmio, Gsi, Lifecycle, LineDriver, MmioAddress, MmioAddressOffset, MsiMessage,
};
use vmmkit_telemetry::{Inspect, Tree};

pub use pins::IoapicState;
use pins::Pins;

/// Where interrupts leave the I/O APIC. It is called with the device's lock held, and must not call
/// the device.
pub trait IoapicOutput: Send + Sync {
    /// Delivers `message` to a local APIC.
    fn deliver(&self, message: MsiMessage);

    /// From now on `pin` stands for `message`: for who delivers edges without the device, and for who
    /// tells of the end of a level-triggered interrupt. `None` where the pin is masked.
    fn route(&self, pin: u32, message: Option<MsiMessage>);
}

/// The I/O APIC on a bus. Any thread may call anything.
pub struct Ioapic {
    pins: Mutex<Pins>,
    // Wiring
    output: Arc<dyn IoapicOutput>,
}

impl Ioapic {
    /// Its name on a bus.
    pub const NAME: &'static str = "ioapic";
    /// Where its registers are.
    pub const ADDRESS: u64 = spec::ADDRESS;
    /// The bytes that it answers for.
    pub const LENGTH: u64 = spec::LENGTH;

    /// An I/O APIC as after power-on: every pin is masked.
    pub fn new(output: Arc<dyn IoapicOutput>) -> Self {
        Self {
            pins: Mutex::default(),
            output,
        }
    }

    /// A local APIC has ended the interrupt `vector`.
    pub fn end_of_interrupt(&self, vector: u8) {
        self.pins.lock().end_of_interrupt(vector, &*self.output);
    }

    /// All that the guest can see, and the levels of the lines.
    pub fn state(&self) -> IoapicState {
        self.pins.lock().state.clone()
    }

    /// Goes to `state`, and tells its output of the routes. Bits that do not exist are cut off.
    pub fn restore(&self, state: IoapicState) {
        self.pins.lock().restore(state, &*self.output);
    }

    /// Goes back to power-on. Lines keep their levels: their devices have them.
    pub fn reset(&self) {
        let mut pins = self.pins.lock();
        let levels = pins.state.levels;
        let fresh = IoapicState {
            levels,
            ..IoapicState::default()
        };
        pins.restore(fresh, &*self.output);
    }
}

impl LineDriver for Ioapic {
    fn set_level(&self, gsi: Gsi, high: bool) {
        self.pins.lock().set_level(gsi.0, high, &*self.output);
    }
}

/// Registers have 32 bits, at multiples of 16 (82093AA data sheet, 3.1). A narrower access is one of
/// the low bits, a wider one has zeros behind.
impl DeviceMmio for Ioapic {
    fn mmio_read(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        let value = self.pins.lock().read(offset).to_le_bytes();
        let bytes = value.into_iter().chain(std::iter::repeat(0));
        for (byte, from) in data.iter_mut().zip(bytes) {
            *byte = from;
        }
    }

    fn mmio_write(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        let mut value = [0; 4];
        for (byte, from) in value.iter_mut().zip(data) {
            *byte = *from;
        }
        self.pins
            .lock()
            .write(offset, u32::from_le_bytes(value), &*self.output);
    }
}

impl Inspect for Ioapic {
    fn inspect(&self) -> Tree {
        let state = self.state();
        let tree = Tree::new().hex("levels", state.levels);
        let table = (0_u32..).zip(state.table);
        table.fold(tree, |tree, (pin, entry)| {
            tree.hex(format!("pin{pin}"), entry)
        })
    }
}

impl Lifecycle for Ioapic {
    fn reset(&self) {
        self.reset();
    }
}

impl fmt::Debug for Ioapic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ioapic")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
