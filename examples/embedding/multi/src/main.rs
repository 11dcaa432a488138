//! Two machines beside each other in one process, different in everything: one ends itself, the other is paused,
//! resumed and stopped. Afterwards the process holds no descriptor, no thread and no guest's memory more than before.

use std::error::Error;
use std::fs;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use guest_elf::elf;
use vmmkit::prelude::*;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Long enough for a host that is busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Things made once for all are there after the first.
const ROUNDS: usize = 5;

/// Says a letter by the serial port and leaves with 7 by the port for that.
#[rustfmt::skip]
const LEAVES: &[u8] = &[
    0x66, 0xba, 0xf8, 0x03, 0xb0, b'a', 0xee, // mov dx, 0x3f8; mov al, 'a'; out dx, al
    0xb0, 0x07, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd, // mov al, 7; out 0xf4, al; hlt; jmp
];

/// Says letters for ever.
#[rustfmt::skip]
const STAYS: &[u8] = &[
    0x66, 0xba, 0xf8, 0x03, 0xb0, b'b',       // mov dx, 0x3f8; mov al, 'b'
    0xee, 0xeb, 0xfd,                         // next: out dx, al; jmp next
];

fn main() -> Result<()> {
    let kvm = Kvm::open()?;
    let mut before = None;
    for _ in 0..ROUNDS {
        round(&kvm)?;
        let now = Held::now()?;
        let first = *before.get_or_insert(now);
        let grown = now.mapped_kib.saturating_sub(first.mapped_kib);
        if (now.descriptors, now.threads) != (first.descriptors, first.threads) || grown > 8 << 10 {
            return Err(format!("{first:?} became {now:?}").into());
        }
    }
    println!("{ROUNDS} times two machines, and nothing is left");
    Ok(())
}

fn round(kvm: &Kvm) -> Result<()> {
    let (small, said_by_small) = small(kvm)?;
    let (large, said_by_large) = large(kvm)?;
    let handle = large.handle();
    if said_by_large.recv_timeout(PATIENCE)? != b'b' {
        return Err("the large machine says something else".into());
    }
    // One ends itself, which is nothing to the other.
    if small.wait()? != Outcome::DebugExit(7) || said_by_small.recv_timeout(PATIENCE)? != b'a' {
        return Err("the small machine did something else".into());
    }
    let PauseOutcome::Paused(paused) = large.pause() else {
        return Err("the large machine ended too".into());
    };
    let large = paused.resume();
    handle.stop();
    match large.wait()? {
        Outcome::Stopped => Ok(()),
        other => Err(format!("the large machine ended with {other:?}").into()),
    }
}

/// One vCPU, memory of nobody else's, every interrupt controller in the hypervisor, a device by MMIO, ACPI.
fn small(kvm: &Kvm) -> Result<(Machine<Running>, Receiver<u8>)> {
    let config = MachineConfig {
        ram: ram(16, Backing::Anonymous),
        ..MachineConfig::new(Boot::kernel(elf(LEAVES)))
    };
    start(config, kvm)
}

/// Two vCPUs, memory that another process could share, its own I/O APIC, a device by PCI, no ACPI, its own names.
fn large(kvm: &Kvm) -> Result<(Machine<Running>, Receiver<u8>)> {
    let mut threads = ThreadPolicy::default();
    threads.name_prefix = "large".to_owned();
    let config = MachineConfig {
        ram: ram(64, Backing::Memfd),
        vcpus: 2,
        irqchip: Irqchip::Split,
        virtio: VirtioTransport::Pci,
        packed: true,
        acpi: false,
        threads,
        ..MachineConfig::new(Boot::kernel(elf(STAYS)))
    };
    start(config, kvm)
}

fn ram(mebibytes: u32, backing: Backing) -> RamConfig {
    let size = RamSize::mebibytes(mebibytes);
    RamConfig {
        size,
        backing,
        ..RamConfig::default()
    }
}

/// Starts a machine; what it says on its serial port comes one by one.
fn start(config: MachineConfig, kvm: &Kvm) -> Result<(Machine<Running>, Receiver<u8>)> {
    let (sender, said) = mpsc::channel();
    let output = OutputBuffer::to_fn(move |bytes| {
        for byte in bytes {
            let _ = sender.send(*byte);
        }
    })?;
    let console = Console {
        output: Some(Arc::new(output)),
        ..Console::default()
    };
    let builder = MachineBuilder::new(config).console(console);
    let machine = builder.virtio_device(Arc::new(Rng::new())).build(kvm)?;
    Ok((machine.start()?, said))
}

/// The resources of the process.
#[derive(Clone, Copy, Debug)]
struct Held {
    descriptors: usize,
    threads: usize,
    mapped_kib: u64,
}

impl Held {
    fn now() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let mapped = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
        let mapped = mapped.and_then(|line| line.split_whitespace().next());
        Ok(Self {
            descriptors: fs::read_dir("/proc/self/fd")?.count(),
            threads: fs::read_dir("/proc/self/task")?.count(),
            mapped_kib: mapped.ok_or("no VmSize")?.parse()?,
        })
    }
}
