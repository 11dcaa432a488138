//! Any bytes as a Multiboot kernel of either version, in an ELF or flat.

use crate::kernel_file;
use vmmkit_boot_loader::EntryChoice;

/// Takes one input.
pub fn run(data: &[u8]) {
    kernel_file::load(data, EntryChoice::Auto);
    kernel_file::load(data, EntryChoice::Multiboot);
}
