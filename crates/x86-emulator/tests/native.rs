//! The emulator against the CPU of this machine: the same bytes, registers, memory and extended
//! state, and then the same of all of them.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and tells what it skips, its helpers too"
)]

#[path = "native/encoding.rs"]
mod encoding;
#[path = "native/extended.rs"]
mod extended;
#[path = "native/functions.rs"]
mod functions;
mod guest;
#[path = "native/integer.rs"]
mod integer;
#[path = "native/pair.rs"]
mod pair;
#[path = "native/sse.rs"]
mod sse;
#[path = "native/trampoline.rs"]
mod trampoline;

use std::arch::x86_64::__cpuid_count;

use encoding::{Form, Opcode, Random};
use guest::*;
use pair::*;
use trampoline::{Arena, Frame, MOVED};
use vmmkit_hypervisor::x86::{CpuidEntry, Registers};
use vmmkit_x86_emulator::{Completion, XsaveArea};
