//! Saved state: what a part of a machine is written as while it is at rest, and read back from.
//!
//! Each kind of part has one [`StateForm`]: a plain serde struct apart from the part's run-time type, so
//! that a change of the code does not change what is written. A form has a version. Its fields are never
//! changed within a version: a new version comes with a step in [`StateForm::upgrade`] that turns the one
//! before into it, so that states of old versions load for ever. [`check_golden`] is for the test that
//! holds a part to that.
//!
//! A saved state is input from a stranger. [`SavedState::from_json`] bounds what it reads; a part's
//! [`SaveState::restore_state`] checks each value before it changes anything.
//!
//! ```
//! use std::sync::atomic::{AtomicU8, Ordering};
//! use serde::{Deserialize, Serialize};
//! use vmmkit_device_bus::{SaveState, SavedState, StateError, StateForm};
//!
//! /// A register that remembers the last byte written.
//! struct Scratch(AtomicU8);
//!
//! #[derive(Serialize, Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct ScratchState {
//!     value: u8,
//! }
//!
//! impl StateForm for ScratchState {
//!     const KIND: &'static str = "scratch";
//!     const VERSION: u32 = 1;
//! }
//!
//! impl SaveState for Scratch {
//!     fn save_state(&self) -> Result<SavedState, StateError> {
//!         let value = self.0.load(Ordering::Relaxed);
//!         SavedState::new(&ScratchState { value })
//!     }
//!
//!     fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
//!         let ScratchState { value } = saved.read()?;
//!         self.0.store(value, Ordering::Relaxed);
//!         Ok(())
//!     }
//! }
//!
//! let saved = Scratch(AtomicU8::new(42)).save_state()?;
//! assert_eq!(saved.to_json(), r#"{"kind":"scratch","version":1,"state":{"value":42}}"#);
//! let restored = Scratch(AtomicU8::new(0));
//! restored.restore_state(&SavedState::from_json(saved.to_json().as_bytes())?)?;
//! assert_eq!(restored.0.into_inner(), 42);
//! # Ok::<(), StateError>(())
//! ```

mod error;
mod golden;
mod saved;

pub use error::{StateError, StateReason};
pub use golden::check_golden;
pub use saved::{MAX_STATE_BYTES, SavedState, StateForm, Value};

/// A part of a machine that can be saved and restored. Without methods of its own it cannot: a machine that it is
/// part of is not saved, with an error that names it.
pub trait SaveState {
    /// The state of the part in the newest version of its form. The part is at rest, and stays as it is.
    ///
    /// # Errors
    /// [`StateReason::CannotBeSaved`] where it holds what no form has a place for.
    fn save_state(&self) -> Result<SavedState, StateError> {
        Err(no_form())
    }

    /// Goes to what was saved of such a part, in any version of its form that there has been. The part is
    /// at rest, and stays so until the machine resumes it. Interrupt lines take their levels.
    ///
    /// # Errors
    /// The field that cannot be restored, its value, and why. The part must not run then, unless it is reset
    /// or another state is restored.
    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let _ = saved;
        Err(no_form())
    }
}

/// The error of a part without a form, whose caller knows its name.
fn no_form() -> StateError {
    StateError::whole("part", StateReason::CannotBeSaved("it has no saved form"))
}
