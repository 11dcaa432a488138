//! A running machine for the control API and for GDB.
//!
//! `control` and `gdb` know no machine but a trait each; here these traits are implemented for the
//! [`Handle`](vmmkit_vmm::Handle) of a machine: [`ControlledMachine`] for the API, [`DebuggedMachine`] for GDB. [`Door`]
//! starts the API's server when the first client comes. What is said to a person, and the numbers that only the
//! program knows, are its own: an [`Embedder`].
//!
//! ```
//! use vmmkit_controlled::DebuggedMachine;
//! use vmmkit_gdb::Debugged;
//!
//! # fn halt(handle: &vmmkit_vmm::Handle) {
//! let machine = DebuggedMachine::new(handle.clone());
//! machine.halt();
//! # }
//! ```
#![forbid(unsafe_code)]

mod console;
mod debugged;
mod device;
mod disk;
mod door;
mod embedder;
mod events;
mod machine;
mod memory;
mod migration;
mod moving;
mod power;
mod standstill;

pub use debugged::DebuggedMachine;
pub use door::{Door, ServerSlot};
pub use embedder::Embedder;
pub use machine::{ControlledMachine, Manner};
pub use migration::Departure;
pub use power::{PAUSE_TIME, ask_to_power_off, can_hear};
pub use standstill::Standstill;
