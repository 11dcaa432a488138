//! The saved form of a balloon, besides its transport and its queues.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm};

use super::Balloon;
use super::shared::Visible;

/// The state that the guest can see: the configuration (5.5.4). The pages that it has given are holes of its RAM.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BalloonForm {
    target_pages: u32,
    actual_pages: u32,
    poison: u32,
}

impl StateForm for BalloonForm {
    const KIND: &'static str = "virtio-balloon";
    const VERSION: u32 = 1;
}

impl SaveState for Balloon {
    fn save_state(&self) -> Result<SavedState, StateError> {
        let Visible {
            target,
            actual,
            poison,
        } = self.shared.visible();
        SavedState::new(&BalloonForm {
            target_pages: target,
            actual_pages: actual,
            poison,
        })
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let form: BalloonForm = saved.read()?;
        self.shared.set_visible(Visible {
            target: form.target_pages,
            actual: form.actual_pages,
            poison: form.poison,
        });
        Ok(())
    }
}
