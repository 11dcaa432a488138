//! A driver that is a stranger, at every device that works without KVM: rings, buffers, registers and
//! configuration from the input, while the host's side has input and output too. No thread panics (the
//! fuzzer ends the process then), the device comes to rest, and after a reset it works again.
//!
//! Each input starts threads. LeakSanitizer takes the number of a thread that has ended for that of a later one, and
//! then the memory of the later one for lost: a run of minutes needs a `kernel.pid_max` that it does not reach, such
//! as 4194304 (`sysctl`); with 32768 there are such reports after some 10,000 inputs.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};

use vmmkit_device_bus::Lifecycle;
use vmmkit_guest_memory::{BLOCK_SIZE, GuestAddress, GuestRam, RamConfig, RamSize};
use vmmkit_host_io::{FdInput, StreamSocket};
use vmmkit_virtio::Device;
use vmmkit_virtio::fake::{Driver, Options, TransportKind};
use vmmkit_virtio::spec::{feature, mmio};
use vmmkit_virtio_devices::{
    Balloon, BalloonConfig, Block, BlockBackend, BlockConfig, Console, Mem, Net, NetOptions, Pmem,
    PmemConfig, Port, Rng, Vsock, VsockConfig,
};

/// What one input may do at most.
const MAX_STEPS: usize = 48;

/// A device, and what its host side does when the input says so.
struct Target {
    driver: Driver,
    host: Box<dyn FnMut(u8) + Send>,
}

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("vmmkit-hostile-ring-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    // SAFETY: it has no preconditions; what is called at the end lives as long as the program.
    unsafe { libc::atexit(remove_folder) };
    folder
});

extern "C" fn remove_folder() {
    let _ = std::fs::remove_dir_all(&*FOLDER);
}

static TARGETS: LazyLock<Vec<Mutex<Target>>> = LazyLock::new(|| {
    let made = [rng(), balloon(), console(), net(), vsock(), mem(), pmem()];
    let disks = [
        disk("sync.raw", BlockBackend::Sync),
        disk("uring.raw", BlockBackend::Auto),
    ];
    made.into_iter().chain(disks).map(Mutex::new).collect()
});

fn target(device: Arc<dyn Device>, host: impl FnMut(u8) + Send + 'static) -> Target {
    Target {
        driver: Driver::attach(device, &options(u64::MAX)).unwrap(),
        host: Box::new(host),
    }
}

fn options(features: u64) -> Options {
    Options {
        features,
        queue_size: 16,
        ram: RamConfig {
            size: RamSize::mebibytes(4),
            ..RamConfig::default()
        },
        transport: TransportKind::Mmio,
        packed: true,
    }
}

/// A file of so many bytes in the folder.
fn file(name: &str, bytes: u64) -> PathBuf {
    let path = FOLDER.join(name);
    File::create(&path).unwrap().set_len(bytes).unwrap();
    path
}

/// Sends what the guest is to get, and takes what it has sent.
fn exchange(mut peer: UnixStream) -> impl FnMut(u8) + Send {
    peer.set_nonblocking(true).unwrap();
    move |byte| {
        let mut frame = vec![byte; 4 + usize::from(byte) * 16];
        let length = frame.len() as u32 - 4;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        let _ = peer.write(&frame);
        let _ = peer.read(&mut [0; 65536]);
    }
}

fn rng() -> Target {
    target(Arc::new(Rng::new()), |_| {})
}

fn balloon() -> Target {
    let config = BalloonConfig {
        size_mib: 1,
        deflate_on_oom: true,
        free_page_reporting: true,
        stats_interval: None,
    };
    let balloon = Arc::new(Balloon::new(&config).unwrap());
    target(balloon.clone(), move |byte| balloon.set_target(byte.into()))
}

fn console() -> Target {
    let (ours, peer) = UnixStream::pair().unwrap();
    let output = ours.try_clone().unwrap();
    let input = Box::new(FdInput::new(ours.into()));
    let ports = vec![
        Port::streams(Some(input), Some(output.into())),
        Port::streams(None, None),
    ];
    let console = Arc::new(Console::new(ports).unwrap());
    let mut exchange = exchange(peer);
    target(console.clone(), move |byte| {
        exchange(byte);
        console.resize(byte.into(), 25);
    })
}

fn net() -> Target {
    let (ours, peer) = UnixStream::pair().unwrap();
    let backend = Box::new(StreamSocket::new(ours).unwrap());
    let net = Net::with_backends(vec![backend], &NetOptions::default()).unwrap();
    target(Arc::new(net), exchange(peer))
}

fn vsock() -> Target {
    let socket = FOLDER.join("vsock");
    let vsock = Vsock::new(VsockConfig {
        cid: 3,
        socket: socket.clone(),
    });
    let mut programs = Vec::new();
    target(Arc::new(vsock.unwrap()), move |byte| {
        let Ok(mut program) = UnixStream::connect(&socket) else {
            return;
        };
        program.set_nonblocking(true).unwrap();
        let _ = program.write_all(format!("CONNECT {byte}\nhello").as_bytes());
        // A few of them stay.
        programs.insert(0, program);
        programs.truncate(3);
    })
}

fn mem() -> Target {
    let config = RamConfig {
        size: RamSize::mebibytes(4),
        max: Some(RamSize::mebibytes(68)),
        ..RamConfig::default()
    };
    let area = GuestRam::pluggable(&config).unwrap().unwrap();
    let mem = Arc::new(Mem::new(area).unwrap());
    target(mem.clone(), move |byte| {
        let _ = mem.request(u64::from(byte) * BLOCK_SIZE);
    })
}

fn pmem() -> Target {
    let pmem = Pmem::open(&PmemConfig {
        path: file("pmem", 2 << 20),
        discard_writes: false,
        guest_address: GuestAddress(4 << 30),
        slot: 1,
    });
    target(Arc::new(pmem.unwrap()), |_| {})
}

fn disk(name: &str, backend: BlockBackend) -> Target {
    let config = BlockConfig {
        path: file(name, 1 << 20),
        queues: 2,
        backend,
        ..BlockConfig::default()
    };
    let block = Arc::new(Block::open(&config).unwrap());
    target(block.clone(), move |byte| {
        let _ = block.resize(Some((1 << 20) + u64::from(byte) * 512));
    })
}

/// The input, byte by byte; zeroes behind its end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn number(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn take(&mut self, length: usize) -> &[u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

fn step(target: &mut Target, input: &mut Input<'_>) {
    let driver = &mut target.driver;
    let count = driver.transport().transport().queue_count().max(1);
    let (what, queue) = (input.byte(), u16::from(input.byte()) % count);
    match what % 9 {
        // A chain that keeps the rules of the ring: its sizes, then what it holds.
        0 | 1 => {
            let (first, second) = (input.byte(), input.byte());
            let room = usize::from(input.number()) % 9000;
            let first = input.take(first.into()).to_vec();
            let second = input.take(second.into()).to_vec();
            let readable = [&first[..], &second];
            let readable: Vec<_> = readable.into_iter().filter(|it| !it.is_empty()).collect();
            let writable: Vec<_> = [room, 1].into_iter().filter(|_| room > 0).collect();
            if driver.add(queue, &readable, &writable).is_ok() {
                driver.kick(queue);
            }
        }
        // Anything in the rings, and in RAM behind them.
        2 => {
            let layout = driver.layout(queue);
            let base = [layout.descriptors, layout.available, layout.used];
            let base = base[usize::from(input.byte() % 3)];
            let offset = u64::from(input.number() % 1024);
            let length = input.byte();
            driver.poke(base + offset, input.take(length.into()));
        }
        3 => {
            let layout = driver.layout(queue);
            driver.poke(layout.available + 2, &input.number().to_le_bytes());
        }
        // A register, but for the status: another one would end the step.
        4 => {
            let offset = u64::from(input.byte() % 64) * 4;
            let value = u32::from(input.number()) << (input.byte() % 17);
            if offset != mmio::STATUS {
                driver.write(offset, value);
            }
        }
        5 => {
            let (offset, length) = (input.byte(), input.byte() % 9);
            driver.set_config(offset.into(), input.take(length.into()));
            driver.read_config(offset.into(), &mut [0; 8]);
        }
        6 => driver.reset_queue(queue),
        7 => {
            rest(driver);
            driver.transport().resume();
        }
        _ => (target.host)(input.byte()),
    }
    target.driver.write(mmio::QUEUE_NOTIFY, queue.into());
}

fn rest(driver: &Driver) {
    driver.transport().pause();
    driver.transport().wait_paused();
}

// A byte for the device, two for the features that are left out, then steps.
/// Takes one input.
pub fn run(data: &[u8]) {
    let Some((&[device, packed, without], steps)) = data.split_first_chunk() else {
        return;
    };
    let target = &TARGETS[usize::from(device) % TARGETS.len()];
    let mut target = target.lock().unwrap();
    let mut features = !u64::from(without);
    if packed & 1 == 0 {
        features &= !feature::RING_PACKED;
    }
    if packed & 2 != 0 {
        features &= !feature::INDIRECT_DESC;
    }
    if target.driver.initialise(&options(features)).is_ok() {
        let mut input = Input(steps);
        for _ in 0..MAX_STEPS {
            if input.0.is_empty() {
                break;
            }
            step(&mut target, &mut input);
        }
    }
    rest(&target.driver);
    target.driver.transport().resume();
    // As if nothing had been.
    target.driver.initialise(&options(u64::MAX)).unwrap();
}
