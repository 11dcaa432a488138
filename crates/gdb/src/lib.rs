//! A GDB server for a guest: GDB halts it, sets breakpoints and watchpoints, steps, and reads and
//! writes registers and memory, each vCPU being a thread.
//!
//! It makes no machine and knows none: a VMM implements [`Debugged`], and tells what happens by
//! [`Notices`]. The protocol is the `gdbstub` crate's. Start with [`Server`].
//!
//! ```
//! use vmmkit_gdb::Place;
//!
//! let place: Place = "tcp:1234".parse()?;
//! assert_eq!(place.to_string(), "tcp:127.0.0.1:1234");
//! # Ok::<(), vmmkit_gdb::PlaceError>(())
//! ```
//!
//! Anyone who connects can read and change all of the guest, and has what the guest has of the host; on a TCP
//! port that is every user of this host. A UNIX socket lets only its owner in (mode 0600).
#![forbid(unsafe_code)]

mod breakpoints;
mod debugged;
mod memory;
mod notices;
mod place;
mod registers;
mod server;
mod session;
mod stream;
mod target;

pub use debugged::{Debugged, Supported};
pub use notices::{Ended, Notices};
pub use place::{Place, PlaceError};
pub use server::{RunningServer, Server};
