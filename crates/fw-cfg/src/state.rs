//! The saved form. The items are not in it: the next machine has its own.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm};

use crate::FwCfg;
use crate::device::Registers;

/// The registers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FwCfgForm {
    selector: u16,
    /// May be beyond the end of the item.
    offset: u32,
    /// The high half of the address of a DMA request.
    dma_high: u32,
}

impl StateForm for FwCfgForm {
    const KIND: &'static str = "fw-cfg";
    const VERSION: u32 = 1;
}

impl SaveState for FwCfg {
    fn save_state(&self) -> Result<SavedState, StateError> {
        let Registers {
            selector,
            offset,
            dma_high,
        } = *self.registers.lock();
        SavedState::new(&FwCfgForm {
            selector,
            offset,
            dma_high,
        })
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        // Every value is possible.
        let form: FwCfgForm = saved.read()?;
        *self.registers.lock() = Registers {
            selector: form.selector,
            offset: form.offset,
            dma_high: form.dma_high,
        };
        Ok(())
    }
}
