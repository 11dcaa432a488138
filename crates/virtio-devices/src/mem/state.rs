//! The saved form of a memory device, besides its transport and its queues. What plugged blocks hold is saved
//! as RAM is, by whoever saves that.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm, StateReason};

use super::{Mem, MemArea};

/// The area and what of it is plugged.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MemForm {
    start: u64,
    size: u64,
    requested: u64,
    /// Runs of plugged blocks of 2 MiB, lowest first: the number of the first and how many.
    plugged: Vec<(u64, u64)>,
}

impl StateForm for MemForm {
    const KIND: &'static str = "virtio-mem";
    const VERSION: u32 = 1;
}

impl SaveState for Mem {
    fn save_state(&self) -> Result<SavedState, StateError> {
        let area = self.shared.area();
        SavedState::new(&MemForm {
            start: area.start(),
            size: area.size(),
            requested: area.requested(),
            plugged: area.runs(),
        })
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let form: MemForm = saved.read()?;
        let mut area = self.shared.area();
        let (start, size) = (area.start(), area.size());
        for (field, saved, here) in [("start", form.start, start), ("size", form.size, size)] {
            let (saved, here) = (format_args!("{saved:#x}"), format_args!("{here:#x}"));
            StateError::check_same(MemForm::KIND, field, saved, here)?;
        }
        let contradicts = |field, value: &dyn std::fmt::Debug, what| {
            let reason = StateReason::Contradicts(what);
            StateError::field(MemForm::KIND, field, format_args!("{value:?}"), reason)
        };
        let requested = form.requested;
        let mut restored = MemArea::new(start, size)
            .ok_or_else(|| contradicts("size", &size, "the size of a block"))?;
        if !restored.request(requested) {
            return Err(contradicts("requested", &requested, "size"));
        }
        if !restored.plug_runs(&form.plugged) {
            return Err(contradicts("plugged", &form.plugged, "size, or itself"));
        }
        *area = restored;
        Ok(())
    }
}
