//! A guest as one ordinary process of a shell: what signals, job control and the keys of a terminal
//! mean to a machine.
//!
//! It knows no hypervisor and no device: a machine is a [`Guest`] to it, six verbs that any VMM has.
//! It is not a console: bytes go by host-io. Start with [`Job`], which has the terminal, and
//! [`Signals`], which runs on the event loop.
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::Duration;
//! use vmmkit_host_io::WindowSize;
//! use vmmkit_process::{Guest, Job, Signals};
//!
//! struct Machine;
//!
//! impl Guest for Machine {
//!     fn ask_to_power_off(&self) {}
//!     fn stop(&self) {}
//!     fn pause(&self) -> bool {
//!         true
//!     }
//!     fn resume(&self) {}
//!     fn dump(&self) {}
//!     fn resize(&self, _size: WindowSize) {}
//! }
//!
//! # fn run() -> std::io::Result<()> {
//! let job = Arc::new(Job::new()?);
//! // Before any other thread is started.
//! let signals = Signals::new(job.clone(), Arc::new(Machine), Duration::from_secs(5))?;
//! // Here `signals` goes to the event loop, and the machine runs until its end.
//! job.give_terminal_back();
//! if let Some(signal) = job.ended_by() {
//!     vmmkit_host_io::die_by(signal);
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod attachment;
mod end_of_input;
mod guest;
mod input;
mod job;
mod keyboard;
mod keys;
mod relay;
mod signals;
mod stream;

pub use attachment::{ATTACHED_HELP, Attachment, Left, RemoteConsole};
pub use end_of_input::EndOfInput;
pub use guest::Guest;
pub use input::TerminalInput;
pub use job::Job;
pub use keyboard::Keyboard;
pub use keys::{Command, EscapeKey, HELP, Key, Keys, NoSuchKey};
pub use relay::relay_stdio;
pub use signals::Signals;
pub use stream::StreamInput;
