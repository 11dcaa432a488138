//! Any bytes as a Multiboot kernel of either version, in an ELF or flat.
#![no_main]

mod kernel_file;

use libfuzzer_sys::fuzz_target;
use vmmkit_boot_loader::EntryChoice;

fuzz_target!(|data: &[u8]| {
    kernel_file::load(data, EntryChoice::Auto);
    kernel_file::load(data, EntryChoice::Multiboot);
});
