//! The boot of a machine as data, and how it gets into RAM at each power-on.

mod config;
mod load;

pub use config::{Boot, BootFile, Initrd, KernelBoot, Module};
pub(crate) use load::{BootFiles, firmware_rom, load};
