//! Access to the base address through the configuration space (4.1.4.9), for firmware that has no
//! memory to map it to.

use super::PciTransport;
use super::regions::BAR;
use crate::spec::pci::field;

use vmmkit_pci::PciFunction;

/// An access that the driver has set up.
struct Window {
    offset: u64,
    length: usize,
}

impl PciTransport {
    /// The driver reads from the data of the capability.
    pub(super) fn read_window(&self) {
        let Some(window) = self.window() else {
            return;
        };
        let mut bytes = [0; 4];
        if let Some(part) = bytes.get_mut(..window.length) {
            self.read_bar(BAR, window.offset, part);
            *self.window_data.lock() = bytes;
        }
    }

    /// The driver has written the data of the capability.
    pub(super) fn write_window(&self) {
        let Some(window) = self.window() else {
            return;
        };
        let bytes = *self.window_data.lock();
        if let Some(part) = bytes.get(..window.length) {
            self.write_bar(BAR, window.offset, part);
        }
    }

    /// The access, if it keeps the rules: 1, 2 or 4 bytes, at a multiple of that, in a base address
    /// that is there (4.1.4.9.1).
    fn window(&self) -> Option<Window> {
        let config = self.config.lock();
        let number = |place: usize| {
            let mut bytes = [0; 4];
            config.read(self.places.window + place, &mut bytes);
            u32::from_le_bytes(bytes)
        };
        let [bar, ..] = number(field::BAR).to_le_bytes();
        let (offset, length) = (number(field::OFFSET), number(field::LENGTH));
        let size = config.bars().iter().find(|(index, _)| *index == bar)?.1;
        let keeps = matches!(length, 1 | 2 | 4) && offset.is_multiple_of(length);
        let is_inside = u64::from(offset) < size;
        (keeps && is_inside).then_some(Window {
            offset: offset.into(),
            length: length as usize,
        })
    }
}
