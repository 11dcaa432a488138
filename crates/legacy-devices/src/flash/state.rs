//! The saved form of a flash chip. What it holds is not in it: the owner keeps that, as it keeps disks.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm, StateReason};

use super::Flash;
use super::chip::Mode;
use super::spec::status;

/// The registers, and what the chip holds as far as it must be the same.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FlashForm {
    size: u64,
    /// A sum over what it holds (FNV-1a, 64 bits), in hexadecimal.
    sum: Box<str>,
    mode: Box<str>,
    status: u8,
}

impl StateForm for FlashForm {
    const KIND: &'static str = "flash";
    const VERSION: u32 = 1;
}

/// FNV-1a (Fowler, Noll, Vo).
fn sum(contents: &[u8]) -> Box<str> {
    let add = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let sum = contents.iter().fold(0xcbf2_9ce4_8422_2325, add);
    format!("{sum:016x}").into()
}

impl SaveState for Flash {
    fn save_state(&self) -> Result<SavedState, StateError> {
        let inner = self.inner.lock();
        let mode = inner.chip.mode();
        let named = Mode::ALL.into_iter().find(|(it, _)| *it == mode);
        SavedState::new(&FlashForm {
            size: inner.chip.size(),
            sum: sum(inner.chip.contents()),
            mode: named.map_or("", |(_, name)| name).into(),
            status: inner.chip.status(),
        })
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let form: FlashForm = saved.read()?;
        let kind = FlashForm::KIND;
        let mut inner = self.inner.lock();
        StateError::check_same(kind, "size", form.size, inner.chip.size())?;
        StateError::check_same(kind, "sum", &form.sum, sum(inner.chip.contents()))?;
        StateError::check_bits(kind, "status", form.status, status::ALL)?;
        let named = Mode::ALL.into_iter().find(|(_, name)| *name == &*form.mode);
        let Some((mode, _)) = named else {
            let here = "array, status, id, program or erase".into();
            let reason = StateReason::Differs { here };
            return Err(StateError::field(kind, "mode", &form.mode, reason));
        };
        inner.chip.restore(mode, form.status);
        Ok(())
    }
}
