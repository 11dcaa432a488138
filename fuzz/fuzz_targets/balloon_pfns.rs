#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmmkit_fuzz::balloon_pfns::run(data));
