//! Any bytes as an ELF kernel: loaded or refused, never a panic, never outside RAM.
#![no_main]

mod kernel_file;

use libfuzzer_sys::fuzz_target;
use vmmkit_boot_loader::EntryChoice;

fuzz_target!(|data: &[u8]| {
    kernel_file::load(data, EntryChoice::Auto);
    kernel_file::load(data, EntryChoice::Pvh);
});
