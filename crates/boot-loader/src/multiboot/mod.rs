//! Multiboot kernels: version 1 (Multiboot Specification 0.6.96) and version 2 (Multiboot2
//! Specification 2.0).
//!
//! The header says what the kernel asks for and, where the file is not an ELF, where it goes. The
//! kernel is entered in 32-bit protected mode without paging, EAX a magic, EBX at the information.

mod error;
mod flat;
mod header;
mod information;

pub use error::MultibootError;
#[cfg(test)]
use flat::Flat;
pub(crate) use flat::load as load_flat;
pub(crate) use header::{Found, Version, find};
pub(crate) use information::{Module, Told, write};

#[cfg(test)]
mod tests;
