//! A queue in RAM, split and packed, that holds anything: no panic, no chain outside RAM, no end of it that does
//! not come.

use std::sync::OnceLock;

use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig, RamSize};
use vmmkit_virtio::spec::feature;
use vmmkit_virtio::{Chain, PackedRing, QueueLayout, SplitRing};

static RAM: OnceLock<GuestRam> = OnceLock::new();

fn ram() -> &'static GuestRam {
    RAM.get_or_init(|| {
        let size = RamSize::mebibytes(1);
        GuestRam::new(&RamConfig {
            size,
            ..RamConfig::default()
        })
        .expect("1 MiB")
    })
}

// Pops and completes for some rounds; some chains of the packed ring are put back first.
macro_rules! drive {
    ($ring:expr, $rounds:expr) => {
        let Ok(mut ring) = $ring else { return };
        let (ram, mut chain) = (ram(), Chain::new());
        for round in 0..$rounds {
            // A ring that is written into buffers may make chains for ever.
            for turn in 0..64 {
                let Ok(true) = ring.pop(&mut chain) else {
                    break;
                };
                for segment in chain.readable().iter().chain(chain.writable()) {
                    assert!(ram.contains(segment.address, segment.length.into()));
                    assert!(segment.length > 0);
                }
                if (round + turn) % 5 == 4 {
                    ring.unpop();
                    continue;
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
    };
}

// A byte each for size, features and rounds; then the first 16 KiB of RAM, where the rings are. Bit 1
// of the features says packed, whose size is any.
/// Takes one input.
pub fn run(data: &[u8]) {
    let [size, features, rounds, memory @ ..] = data else {
        return;
    };
    let ram = ram();
    let memory = &memory[..memory.len().min(0x4000)];
    ram.fill(GuestAddress(0), 0x4000, 0).expect("RAM");
    ram.write_bytes(GuestAddress(0), memory).expect("RAM");
    let is_packed = features & 2 != 0;
    let layout = QueueLayout {
        size: if is_packed {
            u16::from(*size)
        } else {
            1 << (size % 8)
        },
        descriptors: 0,
        available: 0x1000,
        used: 0x2000,
    };
    let features = u64::from(*features & 1) * feature::EVENT_IDX
        | u64::from(*features >> 2 & 1) * feature::INDIRECT_DESC;
    if is_packed {
        drive!(PackedRing::new(ram, layout, features), *rounds);
    } else {
        drive!(SplitRing::new(ram, layout, features), *rounds);
    }
}
