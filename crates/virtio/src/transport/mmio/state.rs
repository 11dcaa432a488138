//! The saved form of the transport by memory-mapped registers.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm};

use super::interrupts::SavedInterrupts;
use super::{MmioTransport, Selectors};
use crate::transport::state::TransportState;

/// The transport and its device.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MmioForm {
    device_features_sel: u32,
    driver_features_sel: u32,
    queue_sel: u32,
    interrupts: SavedInterrupts,
    transport: TransportState,
}

impl StateForm for MmioForm {
    const KIND: &'static str = "virtio-mmio";
    const VERSION: u32 = 1;
}

impl SaveState for MmioTransport {
    fn save_state(&self) -> Result<SavedState, StateError> {
        let selectors = *self.selectors();
        SavedState::new(&MmioForm {
            device_features_sel: selectors.device_features,
            driver_features_sel: selectors.driver_features,
            queue_sel: selectors.queue,
            interrupts: self.interrupts.save(),
            transport: self.transport.save()?,
        })
    }

    /// A device that worked works again when it is resumed: RAM must be restored before this.
    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let name = self.transport.name();
        let form: MmioForm = saved.read().map_err(|error| error.of(name))?;
        form.interrupts
            .check()
            .map_err(|error| error.within("interrupts").of(name))?;
        self.transport.restore(&form.transport)?;
        *self.selectors() = Selectors {
            device_features: form.device_features_sel,
            driver_features: form.driver_features_sel,
            queue: form.queue_sel,
        };
        self.interrupts.restore(form.interrupts);
        Ok(())
    }
}
