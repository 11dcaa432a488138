//! Machines with devices of every kind on this machine's own KVM: whatever state one is dropped in,
//! nothing of it stays. One test, so that what the process has is the machine's.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use std::any::Any;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, mpsc};

use parking_lot::Mutex;
use support::*;
use vmmkit_device_bus::{
    AddressRange, DeviceMmio, DevicePio, GuestRequest, MmioAddress, MmioAddressOffset, PioAddress,
    PioAddressOffset, RequestSink,
};
use vmmkit_guest_memory::{Backing, GuestAddress, GuestRam, RamConfig, RamSize};
use vmmkit_hypervisor_kvm::Kvm;
use vmmkit_virtio::Device;
use vmmkit_virtio_devices::{
    Balloon, BalloonConfig, Block, BlockConfig, Console as VirtioConsole, Mem, MemoryDisk, Net,
    NetAttachment, NetConfig, NetOptions, Pmem, PmemConfig, Port, Rng, VhostUser, Vsock,
    VsockConfig,
};
use vmmkit_vmm::{
    FREE_MMIO, FREE_PORTS, MachineBuilder, MachineConfig, MachineState, OnCrash, Outcome,
    PauseOutcome, VirtioTransport, WeakHandle,
};

/// RAM of each machine: much, so that [`ROUNDS`] of them that stay are seen in the address space.
const RAM: u64 = 256 << 20;
/// Growth allowed in the end, in kilobytes: stacks, and arenas of 64 MiB, that the C library keeps.
const SLACK: u64 = 320 << 10;
/// Machines of a kind, after one that makes what is made once.
const ROUNDS: usize = 2;

/// Resources of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    threads: usize,
    /// Mappings of vCPUs, each of which keeps its VM.
    run_pages: usize,
}

fn held() -> Held {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    Held {
        descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
        threads: fs::read_dir("/proc/self/task").unwrap().count(),
        run_pages: maps
            .lines()
            .filter(|line| line.contains("kvm-vcpu"))
            .count(),
    }
}

/// Kilobytes of address space.
fn address_space() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Block,
    Net,
    Console,
    Rng,
    Balloon,
    Vsock,
    Mem,
    Pmem,
    VhostUser,
}

const KINDS: [Kind; 9] = [
    Kind::Block,
    Kind::Net,
    Kind::Console,
    Kind::Rng,
    Kind::Balloon,
    Kind::Vsock,
    Kind::Mem,
    Kind::Pmem,
    Kind::VhostUser,
];

/// A device, and what else must last as long.
struct Made {
    device: Arc<dyn Device>,
    _rest: Box<dyn Any>,
}

/// A path that nobody else uses.
fn path() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("vmm-leaks-{}-{number}", std::process::id());
    std::env::temp_dir().join(name)
}

/// Removes a path when it is dropped.
struct Gone(PathBuf);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Kind {
    fn make(self) -> Made {
        let gone = Gone(path());
        let mut rest: Box<dyn Any> = Box::new(());
        let device: Arc<dyn Device> = match self {
            Self::Block => {
                let disk = Arc::new(MemoryDisk::new(1 << 20));
                Arc::new(Block::with_disk(disk, &BlockConfig::default()).unwrap())
            }
            Self::Net => {
                rest = Box::new(UnixListener::bind(&gone.0).unwrap());
                let config = NetConfig {
                    attachment: NetAttachment::Stream {
                        path: gone.0.clone(),
                    },
                    options: NetOptions::default(),
                };
                Arc::new(Net::new(&config).unwrap())
            }
            Self::Console => Arc::new(VirtioConsole::new(vec![Port::null()]).unwrap()),
            Self::Rng => Arc::new(Rng::new()),
            Self::Balloon => Arc::new(Balloon::new(&BalloonConfig::default()).unwrap()),
            Self::Vsock => {
                let socket = gone.0.clone();
                Arc::new(Vsock::new(VsockConfig { cid: 3, socket }).unwrap())
            }
            Self::Mem => {
                let config = RamConfig {
                    size: RamSize::new(RAM).unwrap(),
                    max: Some(RamSize::new(2 * RAM).unwrap()),
                    ..RamConfig::default()
                };
                let area = GuestRam::pluggable(&config).unwrap().unwrap();
                Arc::new(Mem::new(area).unwrap())
            }
            Self::Pmem => {
                let file = fs::File::create(&gone.0).unwrap();
                file.set_len(2 << 20).unwrap();
                let pmem = Pmem::open(&PmemConfig {
                    path: gone.0.clone(),
                    discard_writes: false,
                    guest_address: GuestAddress(8 << 30),
                    slot: 8,
                });
                let pmem = pmem.unwrap();
                Arc::new(pmem)
            }
            Self::VhostUser => {
                back_end::serve_at(&gone.0);
                Arc::new(VhostUser::blk(&gone.0).unwrap())
            }
        };
        Made {
            device,
            _rest: Box::new((gone, rest)),
        }
    }
}

/// Where the devices are, and by which queues they are driven.
#[derive(Clone, Copy, Debug)]
struct Place {
    transport: VirtioTransport,
    packed: bool,
}

/// 64-bit code: RDI is a base, writes are of constants at an offset to it.
#[derive(Default)]
struct Code(Vec<u8>);

impl Code {
    fn base(&mut self, address: u64) {
        self.0.push(0xbf); // mov edi, address
        self.0.extend(u32::try_from(address).unwrap().to_le_bytes());
    }

    fn byte(&mut self, offset: u32, value: u8) {
        self.0.extend([0xc6, 0x87]); // mov byte [rdi + offset], value
        self.0.extend(offset.to_le_bytes());
        self.0.push(value);
    }

    fn word(&mut self, offset: u32, value: u16) {
        self.0.extend([0x66, 0xc7, 0x87]); // mov word [rdi + offset], value
        self.0.extend(offset.to_le_bytes());
        self.0.extend(value.to_le_bytes());
    }

    fn long(&mut self, offset: u32, value: u32) {
        self.0.extend([0xc7, 0x87]); // mov dword [rdi + offset], value
        self.0.extend(offset.to_le_bytes());
        self.0.extend(value.to_le_bytes());
    }

    fn longs(&mut self, writes: &[(u32, u32)]) {
        for &(offset, value) in writes {
            self.long(offset, value);
        }
    }

    fn port(&mut self, port: u16, value: u8) {
        let [low, high] = port.to_le_bytes();
        self.0.extend([0x66, 0xba, low, high, 0xb0, value, 0xee]); // mov dx; mov al; out dx, al
    }
}

/// The most queues that a kind has here, and the entries of each.
const QUEUES: u16 = 4;
const ENTRIES: u16 = 8;

/// Where queue `queue` of device `device` has its three parts, in RAM that is all zeroes: no request.
fn parts(device: u32, queue: u16) -> [u32; 3] {
    let page = 0x80_0000 + device * 0x1_0000 + u32::from(queue) * 0x1000;
    [page, page + 0x400, page + 0x800]
}

/// Drives `devices` devices as far as DRIVER_OK (virtio 1.2, section 3.1.1), so that their engines run.
fn drive(place: Place, devices: u32) -> Code {
    let mut code = Code::default();
    // VIRTIO_F_VERSION_1 and VIRTIO_F_RING_PACKED of the upper 32 features.
    let features = if place.packed { 1 | 4 } else { 1 };
    for device in 0..devices {
        match place.transport {
            VirtioTransport::Mmio => {
                code.base(0xd000_0000 + u64::from(device) * 0x1000);
                code.longs(&[(0x70, 1), (0x70, 3)]);
                code.longs(&[(0x24, 1), (0x20, features), (0x24, 0), (0x20, 0)]);
                code.long(0x70, 11);
                for queue in 0..QUEUES {
                    let [table, driver, device] = parts(device, queue);
                    code.longs(&[(0x30, queue.into()), (0x38, ENTRIES.into())]);
                    code.longs(&[(0x80, table), (0x90, driver), (0xa0, device), (0x44, 1)]);
                }
                code.long(0x70, 15);
            }
            _ => {
                // Behind the host bridge: memory space and bus master on, then to base address 0.
                code.base(0xe000_0000 + (u64::from(device) + 1) * 0x8000);
                code.word(4, 6);
                code.0.extend([0x8b, 0xbf, 0x10, 0, 0, 0]); // mov edi, [rdi + 0x10]
                code.0.extend([0x83, 0xe7, 0xf0]); // and edi, -16
                code.byte(20, 1);
                code.byte(20, 3);
                code.longs(&[(8, 1), (12, features), (8, 0), (12, 0)]);
                code.byte(20, 11);
                for queue in 0..QUEUES {
                    let [table, driver, device] = parts(device, queue);
                    code.word(22, queue);
                    code.word(24, ENTRIES);
                    code.longs(&[(32, table), (40, driver), (48, device)]);
                    code.word(28, 1);
                }
                code.byte(20, 15);
            }
        }
    }
    code
}

/// The fate of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Dropped before it is started.
    Ready,
    /// Dropped while its guest runs.
    Running,
    /// Dropped while it is paused.
    Paused,
    /// Stopped by a handle, and waited for.
    Stopped,
    /// Ended by the guest's reset.
    Reset,
    /// Ended by a device of the embedder's own.
    Asked,
    /// Kept after a triple fault, then dropped.
    Crashed,
    /// Not built for a device that has no place.
    Unbuilt,
}

/// The embedder's own port: it tells the test that the guest is there, asks for the end where it is to,
/// and has a handle to its machine.
struct Own {
    arrived: Mutex<mpsc::Sender<()>>,
    requests: RequestSink,
    ends: bool,
    machine: OnceLock<WeakHandle>,
}

impl DevicePio for Own {
    fn pio_read(&self, _: PioAddress, _: PioAddressOffset, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn pio_write(&self, _: PioAddress, _: PioAddressOffset, _: &[u8]) {
        let machine = self.machine.get().unwrap().upgrade().unwrap();
        assert_eq!(machine.state(), MachineState::Running);
        if self.ends {
            (self.requests)(GuestRequest::DebugExit(7));
        }
        let _ = self.arrived.lock().send(());
    }
}

/// A device that never gets a place.
struct Nowhere;

impl DeviceMmio for Nowhere {
    fn mmio_read(&self, _: MmioAddress, _: MmioAddressOffset, _: &mut [u8]) {}
    fn mmio_write(&self, _: MmioAddress, _: MmioAddressOffset, _: &[u8]) {}
}

/// One machine with a device of each of `kinds`, from its making to its end.
fn live(kvm: &Kvm, kinds: &[Kind], place: Place, fate: Fate) {
    let mut code = drive(place, u32::try_from(kinds.len()).unwrap());
    code.port(u16::try_from(FREE_PORTS.base).unwrap(), 1);
    match fate {
        Fate::Reset => code.port(0x64, 0xfe),
        // lidt [0x900000], of zeroes; int3
        Fate::Crashed => code.0.extend([0x0f, 0x01, 0x1c, 0x25, 0, 0, 0x90, 0, 0xcc]),
        _ => {}
    }
    code.0.extend([0xf4, 0xeb, 0xfd]); // hlt; jmp to it
    let kernel = Kernel::of(&elf(&code.0));
    let config = MachineConfig {
        virtio: place.transport,
        packed: place.packed,
        on_crash: OnCrash::Pause,
        ram: RamConfig {
            size: RamSize::new(RAM).unwrap(),
            // A back end maps it.
            backing: match kinds.contains(&Kind::VhostUser) {
                true => Backing::Memfd,
                false => Backing::default(),
            },
            ..RamConfig::default()
        },
        ..kernel.config()
    };
    let (arrived, guest) = mpsc::channel();
    let mut builder = MachineBuilder::new(config);
    let own = Arc::new(Own {
        arrived: Mutex::new(arrived),
        requests: builder.requests(),
        ends: fate == Fate::Asked,
        machine: OnceLock::new(),
    });
    builder = builder.plug_port_device("own", AddressRange::new(FREE_PORTS.base, 1), own.clone());
    let mut rest = Vec::new();
    for kind in kinds {
        let made = kind.make();
        builder = builder.virtio_device(made.device.clone());
        rest.push(made);
    }
    if fate == Fate::Unbuilt {
        let twice = AddressRange::new(FREE_MMIO.base, 0x1000);
        builder = builder
            .plug_mmio_device("one", twice, Arc::new(Nowhere))
            .plug_mmio_device("other", twice, Arc::new(Nowhere));
        builder.build(kvm).unwrap_err();
        return;
    }
    let machine = builder.build(kvm).unwrap();
    let handle = machine.handle();
    own.machine.set(handle.downgrade()).unwrap();
    if fate == Fate::Ready {
        return;
    }
    let machine = machine.start().unwrap();
    guest.recv_timeout(PATIENCE).unwrap();
    match fate {
        Fate::Paused => match machine.pause() {
            PauseOutcome::Paused(machine) => drop(machine),
            PauseOutcome::Ended(machine) => panic!("{machine:?}"),
        },
        Fate::Stopped => {
            handle.stop();
            assert_eq!(machine.wait().unwrap(), Outcome::Stopped);
        }
        Fate::Reset => assert_eq!(machine.wait().unwrap(), Outcome::Reset),
        Fate::Asked => assert_eq!(machine.wait().unwrap(), Outcome::DebugExit(7)),
        Fate::Crashed => {
            let crashed = |state| matches!(state, MachineState::Crashed(_));
            eventually("the guest has crashed", || crashed(handle.state()));
            drop(machine);
        }
        _ => drop(machine),
    }
    if place.transport == VirtioTransport::Mmio {
        for device in handle.devices() {
            assert!(device.was_driven, "{}: its engine never ran", device.name);
        }
    }
    // A weak handle finds it for as long as the strong one is there, and no longer.
    let weak = handle.downgrade();
    assert!(weak.upgrade().is_some());
    drop(handle);
    assert!(weak.upgrade().is_none());
}

fn leaves_nothing(kvm: &Kvm, kinds: &[Kind], place: Place, fate: Fate) {
    let threads = held().threads;
    live(kvm, kinds, place, fate);
    eventually("every thread is gone", || held().threads == threads);
    let (before, size) = (held(), address_space());
    assert_eq!(before.run_pages, 0, "{kinds:?} {place:?} {fate:?}");
    for _ in 0..ROUNDS {
        live(kvm, kinds, place, fate);
        // A thread that was joined may be listed a moment longer.
        eventually("nothing is more than before", || held() == before);
    }
    let grown = address_space().saturating_sub(size);
    assert!(
        grown < SLACK,
        "{kinds:?} {place:?} {fate:?}: {grown} kB of address space"
    );
}

#[test]
fn a_machine_with_devices_leaves_nothing_whatever_state_it_is_dropped_in() {
    let kvm = match Kvm::open() {
        Ok(kvm) => kvm,
        Err(reason) => return eprintln!("SKIPPED: machines with devices: {reason}"),
    };
    let places = [
        (VirtioTransport::Mmio, false),
        (VirtioTransport::Mmio, true),
        (VirtioTransport::Pci, false),
        (VirtioTransport::Pci, true),
    ];
    for (transport, packed) in places {
        let place = Place { transport, packed };
        // The back end here knows no packed queues.
        let has_it = |kind: &Kind| *kind != Kind::VhostUser || !packed;
        let kinds: Vec<Kind> = KINDS.into_iter().filter(has_it).collect();
        for kind in &kinds {
            leaves_nothing(&kvm, &[*kind], place, Fate::Stopped);
        }
        for fate in [
            Fate::Ready,
            Fate::Running,
            Fate::Paused,
            Fate::Reset,
            Fate::Asked,
            Fate::Crashed,
            Fate::Unbuilt,
        ] {
            leaves_nothing(&kvm, &kinds, place, fate);
        }
    }
}
