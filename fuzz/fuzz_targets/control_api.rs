#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmmkit_fuzz::control_api::run(data));
