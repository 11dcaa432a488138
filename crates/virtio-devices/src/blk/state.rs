//! The saved form of a disk, besides its transport and its queues.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm, StateReason};

use super::Block;
use super::spec::SECTOR;

/// The guest's settings. The contents of the disk are the host's.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockForm {
    /// Its capacity in sectors of 512 bytes; the disk of the machine that restores must have the same.
    sectors: u64,
    writeback: bool,
}

impl StateForm for BlockForm {
    const KIND: &'static str = "virtio-blk";
    const VERSION: u32 = 1;
}

// Ordering: Relaxed, as the device is at rest, and pausing and resuming it take a lock.
impl SaveState for Block {
    fn save_state(&self) -> Result<SavedState, StateError> {
        if self.shared.disk.is_temporary() {
            let reason = "what the guest wrote to it is gone with this process";
            let reason = StateReason::CannotBeSaved(reason);
            return Err(StateError::whole(BlockForm::KIND, reason));
        }
        SavedState::new(&BlockForm {
            sectors: self.shared.capacity.load(Ordering::Relaxed) / SECTOR,
            writeback: self.shared.writeback.load(Ordering::Relaxed),
        })
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let form: BlockForm = saved.read()?;
        let here = self.shared.capacity.load(Ordering::Relaxed) / SECTOR;
        if form.sectors != here {
            let here = format!("{here} in {}", self.shared.disk.name());
            let reason = StateReason::Differs { here: here.into() };
            let kind = BlockForm::KIND;
            return Err(StateError::field(kind, "sectors", form.sectors, reason));
        }
        self.shared
            .writeback
            .store(form.writeback, Ordering::Relaxed);
        Ok(())
    }
}
