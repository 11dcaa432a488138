#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmmkit_fuzz::disk_image::run(data));
