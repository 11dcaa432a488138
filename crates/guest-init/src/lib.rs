//! One command in a guest whose root is a directory of the host, shared by virtio-fs.
//!
//! A [`Task`] says what to run, [`initramfs`] makes the initial RAM disk that runs it, and a [`Monitor`] hears from the
//! guest how it ended. The guest's first process is in this package too, in `init`: some 20 KiB, static, without a libc.
//!
//! The guest has a virtio console with the ports [`STDIN`], [`STDOUT`], [`STDERR`] and [`STATUS`]. The command's output is
//! that of two of the ports, byte for byte. Input comes in [frames](Frames), for a port has no end of its own. At the end of
//! the command the guest tells its exit code, and how many bytes of output it has sent: the host ends the guest when
//! it has them all. [Signals] for it come on `STATUS`. A command at a terminal has the guest's first virtio console
//! instead, and `STATUS` alone.
//!
//! ```
//! use vmmkit_guest_init::{Ended, Monitor};
//!
//! let monitor = Monitor::new(|| ());
//! monitor.hear_status(b"exited 7 5 0\n");
//! assert_eq!(monitor.ended(), None);
//! monitor.count_stdout(5);
//! assert_eq!(monitor.ended(), Some(Ended::Exited(7)));
//! ```
#![forbid(unsafe_code)]

mod archive;
mod error;
mod frames;
mod monitor;
mod signals;
mod task;
#[path = "../init/wire.rs"]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the guest's program uses the rest of it")
)]
mod wire;

pub use archive::initramfs;
pub use error::InitramfsError;
pub use frames::Frames;
pub use monitor::{Ended, Monitor};
pub use signals::Signals;
pub use task::Task;
pub use wire::{STATUS, STDERR, STDIN, STDOUT};
