//! A split queue in RAM that holds anything: no panic, no chain outside RAM, no end of it that does
//! not come.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig, RamSize};
use vmmkit_virtio::spec::feature;
use vmmkit_virtio::{Chain, QueueLayout, SplitRing};

static RAM: OnceLock<GuestRam> = OnceLock::new();

fn ram() -> &'static GuestRam {
    RAM.get_or_init(|| {
        let size = RamSize::mebibytes(1);
        GuestRam::new(&RamConfig { size, ..RamConfig::default() }).expect("1 MiB")
    })
}

// A byte each for size, features and rounds; then the first 16 KiB of RAM, where the rings are.
fuzz_target!(|data: &[u8]| {
    let [size, features, rounds, memory @ ..] = data else { return };
    let ram = ram();
    let memory = &memory[..memory.len().min(0x4000)];
    ram.fill(GuestAddress(0), 0x4000, 0).expect("RAM");
    ram.write_bytes(GuestAddress(0), memory).expect("RAM");
    let layout = QueueLayout {
        size: 1 << (size % 8),
        descriptors: 0,
        available: 0x1000,
        used: 0x2000,
    };
    let features = u64::from(*features) * (feature::INDIRECT_DESC | feature::EVENT_IDX);
    let Ok(mut ring) = SplitRing::new(ram, layout, features) else { return };
    let mut chain = Chain::new();
    for _ in 0..*rounds {
        while let Ok(true) = ring.pop(&mut chain) {
            for segment in chain.readable().iter().chain(chain.writable()) {
                assert!(ram.contains(segment.address, segment.length.into()));
                assert!(segment.length > 0);
            }
            let mut bytes = [0; 64];
            chain.reader(ram).read(&mut bytes);
            let mut writer = chain.writer(ram);
            writer.write(&bytes);
            let written = writer.written();
            ring.complete(&chain, written);
        }
        ring.publish();
    }
});
