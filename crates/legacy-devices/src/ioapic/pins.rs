//! The registers and the pins. No lock; what happens to the outside is told to an [`IoapicOutput`].

use vmmkit_device_bus::MsiMessage;

use super::IoapicOutput;
use super::spec::*;

/// The state of an I/O APIC that the guest can see, and the levels of its pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoapicState {
    /// The register that the window shows.
    pub select: u8,
    /// The ID register.
    pub id: u32,
    /// The redirection table.
    pub table: [u64; PINS as usize],
    /// A bit for each pin whose line is high.
    pub levels: u32,
}

impl Default for IoapicState {
    /// After a reset (82093AA data sheet, 3.2): everything is masked.
    fn default() -> Self {
        Self {
            select: 0,
            id: 0,
            table: [MASKED; PINS as usize],
            levels: 0,
        }
    }
}

/// The I/O APIC.
#[derive(Debug, Default)]
pub(super) struct Pins {
    // What the guest can see
    pub(super) state: IoapicState,
    // What the outside was told
    routes: [Option<MsiMessage>; PINS as usize],
}

impl Pins {
    /// Goes to `state`. Bits that do not exist are cut off.
    pub(super) fn restore(&mut self, state: IoapicState, output: &dyn IoapicOutput) {
        self.state = IoapicState {
            id: state.id & ID_MASK,
            table: state.table.map(|entry| entry & (WRITABLE | REMOTE_IRR)),
            levels: state.levels & ((1 << PINS) - 1),
            ..state
        };
        for pin in 0..PINS {
            self.route(pin, output);
        }
    }

    /// The register at `offset` of the page.
    pub(super) fn read(&self, offset: u64) -> u32 {
        match offset & 0xff {
            SELECT => self.state.select.into(),
            WINDOW => self.read_selected(),
            _ => 0, // reserved
        }
    }

    /// Writes the register at `offset` of the page.
    pub(super) fn write(&mut self, offset: u64, value: u32, output: &dyn IoapicOutput) {
        match offset & 0xff {
            SELECT => self.state.select = value as u8,
            WINDOW => self.write_selected(value, output),
            _ => {} // reserved
        }
    }

    fn read_selected(&self) -> u32 {
        match self.state.select {
            ID | ARBITRATION => self.state.id,
            VERSION => VERSION_VALUE,
            select => match self.selected(select) {
                Some((pin, is_high)) => {
                    let entry = self.entry(pin);
                    if is_high {
                        (entry >> 32) as u32
                    } else {
                        entry as u32
                    }
                }
                None => 0, // reserved
            },
        }
    }

    fn write_selected(&mut self, value: u32, output: &dyn IoapicOutput) {
        let select = self.state.select;
        if select == ID {
            self.state.id = value & ID_MASK;
            return;
        }
        // The rest is read only or reserved.
        let Some((pin, is_high)) = self.selected(select) else {
            return;
        };
        let old = self.entry(pin);
        let value = u64::from(value);
        let written = if is_high {
            old & 0xffff_ffff | value << 32
        } else {
            old & !0xffff_ffff | value
        };
        let mut entry = written & WRITABLE | old & REMOTE_IRR;
        // An edge has no remote IRR: software of before the EOI register ends an interrupt so.
        if entry & LEVEL == 0 {
            entry &= !REMOTE_IRR;
        }
        self.set_entry(pin, entry);
        self.route(pin, output);
        self.assert(pin, output);
    }

    /// The pin whose entry `select` shows, and whether it is the high half.
    fn selected(&self, select: u8) -> Option<(u32, bool)> {
        let index = u32::from(select.checked_sub(TABLE)?);
        let pin = index / 2;
        (pin < PINS).then_some((pin, index % 2 == 1))
    }

    /// The line of `pin` has this level now. A pin that does not exist is not heard.
    pub(super) fn set_level(&mut self, pin: u32, high: bool, output: &dyn IoapicOutput) {
        if pin >= PINS {
            return;
        }
        let was_high = self.state.levels & 1 << pin != 0;
        if was_high == high {
            return;
        }
        self.state.levels ^= 1 << pin;
        if !high {
            return;
        }
        let entry = self.entry(pin);
        if entry & LEVEL != 0 {
            self.assert(pin, output);
        } else if entry & MASKED == 0 {
            // An edge at a masked pin is ignored (3.2.4).
            output.deliver(message(entry));
        }
    }

    /// A local APIC has ended the interrupt `vector`: a level that is still there comes again.
    pub(super) fn end_of_interrupt(&mut self, vector: u8, output: &dyn IoapicOutput) {
        for pin in 0..PINS {
            let entry = self.entry(pin);
            if entry & VECTOR == u64::from(vector) && entry & LEVEL != 0 {
                self.set_entry(pin, entry & !REMOTE_IRR);
                self.assert(pin, output);
            }
        }
    }

    /// Delivers a level that is there and that no local APIC has.
    fn assert(&mut self, pin: u32, output: &dyn IoapicOutput) {
        let entry = self.entry(pin);
        let is_heard = entry & LEVEL != 0 && entry & (MASKED | REMOTE_IRR) == 0;
        if is_heard && self.state.levels & 1 << pin != 0 {
            self.set_entry(pin, entry | REMOTE_IRR);
            output.deliver(message(entry));
        }
    }

    /// Tells the outside where `pin` leads. That of a level stays while the pin is masked, as its end
    /// must be told all the same.
    fn route(&mut self, pin: u32, output: &dyn IoapicOutput) {
        let entry = self.entry(pin);
        let route = (entry & MASKED == 0).then(|| message(entry));
        let Some(known) = self.routes.get_mut(pin as usize) else {
            return;
        };
        let is_kept = route.is_none() && entry & LEVEL != 0;
        if *known != route && !is_kept {
            *known = route;
            output.route(pin, route);
        }
    }

    fn entry(&self, pin: u32) -> u64 {
        self.state
            .table
            .get(pin as usize)
            .copied()
            .unwrap_or(MASKED)
    }

    fn set_entry(&mut self, pin: u32, entry: u64) {
        if let Some(place) = self.state.table.get_mut(pin as usize) {
            *place = entry;
        }
    }
}

/// The message that `entry` stands for.
fn message(entry: u64) -> MsiMessage {
    let destination = entry >> DESTINATION_SHIFT;
    let mut address = MESSAGE_ADDRESS | destination << MESSAGE_DESTINATION_SHIFT;
    if entry & LOGICAL != 0 {
        address |= MESSAGE_LOGICAL;
    }
    let mut data = (entry & (VECTOR | DELIVERY_MODE)) as u32;
    if entry & LEVEL != 0 {
        data |= MESSAGE_LEVEL | MESSAGE_ASSERT;
    }
    MsiMessage { address, data }
}
