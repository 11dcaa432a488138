//! Least privilege for a VMM, or any program of threads: system calls by thread, files by folder, no
//! capabilities, as safe calls.
//!
//! It knows no VMM and no thread of one: a program says as data which system calls a kind of thread makes
//! ([`Call`]), compiles them once ([`Filter`]) and has each thread apply its own. Files that are to be opened later
//! are named beforehand ([`FileRules`]); [`drop_privileges`] takes the rest. All of it binds the calling thread and
//! what it starts from then on, so the thread that starts the others comes first.
//!
//! ```
//! use vmmkit_sandbox::{Argument, Call, CapabilitySet, FileRules, Filter, ProcessMemory, Refusal, Sysno, drop_privileges};
//!
//! const WORKER: &[Call] = &[
//!     Call::any(Sysno::futex),
//!     Call::any(Sysno::write),
//!     // Memory, but none that can be executed.
//!     Call::any(Sysno::mmap).with(Argument::masked(2, 4, 0)),
//! ];
//!
//! let filter = Filter::new(&[WORKER], Refusal::Trap)?;
//! let mut files = FileRules::new();
//! files.replace_in("/var/log");
//! let confine = || -> Result<(), Box<dyn std::error::Error>> {
//!     let files = files.close()?;
//!     let privileges = drop_privileges(CapabilitySet::empty(), ProcessMemory::Closed)?;
//!     filter.apply()?;
//!     println!("{files:?} {privileges:?}");
//!     Ok(())
//! };
//! # let _ = confine;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a host's kernel lacks
//!
//! [`FileRules::close`] and [`support`] say it: a kernel without Landlock (before 5.13, or not enabled), or without
//! filters of system calls (CONFIG_SECCOMP_FILTER). It is for the program to go on without, or not.
#![forbid(unsafe_code)]

mod builder;
mod call;
mod files;
mod filter;
mod privileges;
mod program;
mod support;

pub use builder::FilterBuilder;
pub use call::{Argument, Call, call_name, calls};
pub use files::{FileRules, FilesClosed, FilesError};
pub use filter::{Filter, FilterError, Refusal};
pub use privileges::{PrivilegeError, PrivilegesDropped, ProcessMemory, drop_privileges};
pub use rustix::thread::CapabilitySet;
pub use support::{Support, support};
pub use syscalls::Sysno;
