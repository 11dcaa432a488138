#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmmkit_fuzz::flash::run(data));
