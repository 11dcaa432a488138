//! Any bytes as an ELF kernel: loaded or refused, never a panic, never outside RAM.

use crate::kernel_file;
use vmmkit_boot_loader::EntryChoice;

/// Takes one input.
pub fn run(data: &[u8]) {
    kernel_file::load(data, EntryChoice::Auto);
    kernel_file::load(data, EntryChoice::Pvh);
}
