//! Any bytes as a unified kernel image: its kernel, its initrd and its command line.
#![no_main]

mod kernel_file;

use libfuzzer_sys::fuzz_target;
use vmmkit_boot_loader::EntryChoice;

fuzz_target!(|data: &[u8]| {
    kernel_file::load(data, EntryChoice::Auto);
    kernel_file::read_unified_cmdline();
});
