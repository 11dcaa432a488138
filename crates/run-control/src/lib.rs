//! Who may run: the start, pauses, resets, crashes and the end of a guest, decided in one place for the
//! threads of all its vCPUs, and the events that tell of them; and the loop that each of them is in.
//!
//! It starts no thread, makes no vCPU and knows no device: threads bring their vCPUs as closures (a
//! [`VcpuLoop`] of a vCPU and its buses, for instance), a
//! [`PowerOn`] makes those of a guest that starts anew, and devices send what the guest asks for to a
//! sink. Start with [`Control`].
//!
//! ```
//! use std::sync::Arc;
//! use vmmkit_device_bus::GuestRequest;
//! use vmmkit_host_io::Next;
//! use vmmkit_run_control::{Control, Event, MachineState, Outcome};
//!
//! let control = Arc::new(Control::default());
//! let events = control.events().subscribe()?;
//! control.start(1);
//! assert_eq!(control.state(), MachineState::Running);
//! // On a vCPU's thread, by a device:
//! (control.requests())(GuestRequest::PowerOff);
//! assert!(control.is_over());
//! let Next::Message(message) = events.wait() else { panic!("no event") };
//! assert_eq!(message.body, Event::Started);
//! assert_eq!(control.state(), MachineState::Ended(Outcome::PowerOff));
//! # Ok::<(), std::io::Error>(())
//! ```
#![forbid(unsafe_code)]

mod clocks;
mod control;
mod event;
mod lives;
mod outcome;
mod vcpu_loop;

pub use clocks::Clocks;
pub use control::{Control, Ending, LastEvent, PauseError, Rest};
pub use event::{Event, MachineState, ResetCause};
pub use lives::{ClockPolicy, OnCrash, OnReboot, PowerOn, VcpuBody, Vcpus};
pub use outcome::{Outcome, RunError};
pub use vcpu_loop::{Buses, EndOfInterrupt, VcpuLoop};
pub use vmmkit_hypervisor::x86::VcpuDump;
