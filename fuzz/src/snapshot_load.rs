//! Any bytes as a container, and as a section of a machine's snapshot with a right checksum: refused, or restored, and
//! then the machine can be saved again. The corpus is every section of the goldens: its id, a line feed, its
//! contents.

use std::fs::File;
use std::os::fd::FromRawFd;
use std::sync::{Arc, OnceLock};

use vmmkit_guest_memory::{RamConfig, RamSize};
use vmmkit_hypervisor::Irqchip;
use vmmkit_hypervisor::fake::FakeHypervisor;
use vmmkit_snapshot::{Reader, Section, Writer};
use vmmkit_virtio_devices::{
    Balloon, BalloonConfig, Block, BlockConfig, Console, MemoryDisk, Port, Rng,
};
use vmmkit_vmm::{
    Boot, MachineBuilder, MachineConfig, PauseOutcome, SavedRam, VirtioTransport,
};

/// A 64-bit ELF of one segment with one HLT, which never runs here.
fn kernel() -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [0x10_0000_u64, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend([0; 4]);
    for half in [64_u16, 56, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [120_u64, 0x10_0000, 0x10_0000, 1, 1, 8] {
        file.extend(word.to_le_bytes());
    }
    file.push(0xf4);
    file
}

fn builder(virtio: VirtioTransport, irqchip: Irqchip) -> MachineBuilder {
    let config = MachineConfig {
        vcpus: 2,
        virtio,
        irqchip,
        ram: RamConfig {
            size: RamSize::mebibytes(16),
            ..RamConfig::default()
        },
        ..MachineConfig::new(Boot::kernel(kernel()))
    };
    let disk = Block::with_disk(Arc::new(MemoryDisk::new(8192)), &BlockConfig::default());
    MachineBuilder::new(config)
        .virtio_device(Arc::new(Rng::new()))
        .virtio_device(Arc::new(disk.expect("a disk")))
        .virtio_device(Arc::new(
            Console::new(vec![Port::null()]).expect("a console"),
        ))
        .virtio_device(Arc::new(
            Balloon::new(&BalloonConfig::default()).expect("a balloon"),
        ))
}

/// A file without a name, 16 MiB long.
fn ram() -> File {
    // SAFETY: the name is a C string, and the flags are none.
    let descriptor = unsafe { libc::memfd_create(c"ram".as_ptr(), 0) };
    assert!(descriptor >= 0);
    // SAFETY: the descriptor is new and nobody else's.
    let file = unsafe { File::from_raw_fd(descriptor) };
    file.set_len(16 << 20).expect("a longer file");
    file
}

const MACHINES: [(VirtioTransport, Irqchip); 2] = [
    (VirtioTransport::Mmio, Irqchip::InKernel { pit: true }),
    (VirtioTransport::Pci, Irqchip::Split),
];

/// The snapshots of both machines.
fn saved() -> &'static [Vec<u8>; 2] {
    static SAVED: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    SAVED.get_or_init(|| {
        MACHINES.map(|(virtio, irqchip)| {
            let machine = builder(virtio, irqchip).build(&FakeHypervisor::new());
            let machine = machine.expect("a machine").start().expect("threads");
            let PauseOutcome::Paused(machine) = machine.pause() else {
                panic!("it has ended");
            };
            let mut writer = Writer::new();
            machine
                .save(&mut writer, &ram())
                .expect("a machine that can be saved");
            writer.finish()
        })
    })
}

fn restore(virtio: VirtioTransport, irqchip: Irqchip, state: &[u8]) {
    let reader = Reader::new(state).expect("its own container");
    let restored = builder(virtio, irqchip).restore(&FakeHypervisor::new(), reader, ram());
    if let Err(error) = restored {
        assert!(error.to_string().len() < 1000, "{error}");
    }
}

/// Any bytes as the pages that changed since a snapshot: refused by name, or restored.
fn restore_changes(contents: &[u8]) {
    let (virtio, irqchip) = MACHINES[0];
    let whole = Reader::new(&saved()[0]).expect("its own container");
    let mut writer = Writer::new();
    for section in whole.sections() {
        writer.add(*section).expect("a section as before");
    }
    let pages = Section {
        id: "ram-pages",
        kind: "page-runs",
        version: 1,
        must_understand: true,
        contents,
    };
    writer.add(pages).expect("one more section");
    let state = writer.finish();
    let reader = || Reader::new(&state).expect("its own container");
    match SavedRam::from(ram()).changed(ram(), reader()) {
        Err(error) => assert!(error.to_string().contains("ram-pages"), "{error}"),
        Ok(changed) => {
            let machine = builder(virtio, irqchip);
            let machine = machine.restore(&FakeHypervisor::new(), reader(), changed);
            machine.expect("pages of its RAM");
        }
    }
}

/// Takes one input.
pub fn run(bytes: &[u8]) {
    if let Ok(reader) = Reader::new(bytes) {
        for (virtio, irqchip) in MACHINES {
            let _ = builder(virtio, irqchip).restore(&FakeHypervisor::new(), reader.clone(), ram());
        }
    }
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (id, contents) = (&bytes[..end], &bytes[end + 1..]);
    if id == b"ram-pages" {
        restore_changes(contents);
    }
    for ((virtio, irqchip), whole) in MACHINES.into_iter().zip(saved()) {
        let whole = Reader::new(whole).expect("its own container");
        if !whole
            .sections()
            .iter()
            .any(|section| section.id.as_bytes() == id)
        {
            continue;
        }
        let mut writer = Writer::new();
        for section in whole.sections() {
            let contents = match section.id.as_bytes() == id {
                true => contents,
                false => section.contents,
            };
            writer
                .add(Section {
                    contents,
                    ..*section
                })
                .expect("a section as before");
        }
        restore(virtio, irqchip, &writer.finish());
    }
}
