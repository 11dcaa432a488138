//! Every target in one program: the environment's FUZZ_TARGET names the one that runs.
#![no_main]

use std::sync::LazyLock;

use vmmkit_fuzz::TARGETS;

static RUN: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found
        .unwrap_or_else(|| panic!("FUZZ_TARGET={name}: there is no such target"))
        .1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (*RUN)(data));
