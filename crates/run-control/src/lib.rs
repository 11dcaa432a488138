//! The right to run: the start, pauses, resets, crashes and the end of a guest, decided in one place for the
//! threads of all its vCPUs, and the events that report them; and the loop that each of them is in.
//!
//! It starts no thread, makes no vCPU and knows no device: threads bring their vCPUs as closures (a
//! [`VcpuLoop`] of a vCPU and its buses, for instance), [`Hardware`] makes those of a guest that starts anew, and
//! devices send what the guest asks for to a sink. Whoever composes a machine has its [`Supervisor`], each vCPU's
//! thread a [`VcpuThread`], and everybody else a [`Control`], which starts, pauses and runs nothing. Start with
//! [`Supervisor`].
//!
//! # Locks
//! There is one, of the run state. Under it, events go to their subscribers' queues (the lock of
//! [`Broadcast`](vmmkit_host_io::Broadcast), which nothing else is taken under), so that each subscriber sees them
//! in the order of the changes. Nothing else runs under it: no kick, no visit, no debugger, no subscriber of
//! `tracing`, no drop of a vCPU. So a device may ask for the end or a reset under a lock of its own.
//!
//! A vCPU's thread looks at one atomic before it enters the guest and after each kick: a change is stored there
//! before the kicks go out, and a kick is never lost, so every vCPU sees it.
//!
//! ```
//! use vmmkit_device_bus::GuestRequest;
//! use vmmkit_host_io::Next;
//! use vmmkit_run_control::{Event, MachineState, Outcome, Supervisor};
//!
//! let supervisor = Supervisor::default();
//! let control = supervisor.control();
//! let events = control.events().subscribe()?;
//! supervisor.start(Vec::new());
//! assert_eq!(control.state(), MachineState::Running);
//! // On a vCPU's thread, by a device:
//! (control.requests())(GuestRequest::PowerOff);
//! let Next::Message(message) = events.wait() else { panic!("no event") };
//! assert_eq!(message.body, Event::Started);
//! assert_eq!(control.state(), MachineState::Ended(Outcome::PowerOff));
//! # Ok::<(), std::io::Error>(())
//! ```
#![forbid(unsafe_code)]

mod clocks;
mod control;
mod core;
mod event;
mod lives;
mod log;
mod outcome;
mod pause_error;
mod slot;
mod state;
mod supervisor;
mod sync;
mod vcpu_loop;
mod vcpu_thread;

pub use clocks::Clocks;
pub use control::Control;
pub use event::{Event, MachineState, ResetCause};
pub use lives::{ClockPolicy, Hardware, OnCrash, OnReboot, OnWorkThread, VcpuBody, Vcpus};
pub use outcome::{Ending, Outcome, RunError};
pub use pause_error::PauseError;
pub use state::PauseRequest;
pub use supervisor::{LastEvent, Settings, Supervisor};
pub use vcpu_loop::{Buses, EndOfInterrupt, VcpuLoop};
pub use vcpu_thread::VcpuThread;
pub use vmmkit_hypervisor::x86::VcpuDump;
