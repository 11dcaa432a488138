//! Any bytes as a unified kernel image: its kernel, its initrd and its command line.

use crate::kernel_file;
use vmmkit_boot_loader::EntryChoice;

/// Takes one input.
pub fn run(data: &[u8]) {
    kernel_file::load(data, EntryChoice::Auto);
    kernel_file::read_unified_cmdline();
}
