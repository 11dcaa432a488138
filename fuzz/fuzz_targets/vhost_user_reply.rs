#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmmkit_fuzz::vhost_user_reply::run(data));
