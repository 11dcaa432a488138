//! Any bytes as a bzImage, by its payload and by its own decompressor.

use crate::kernel_file;
use vmmkit_boot_loader::EntryChoice;

/// Takes one input.
pub fn run(data: &[u8]) {
    kernel_file::load(data, EntryChoice::Auto);
    kernel_file::load(data, EntryChoice::Setup);
}
