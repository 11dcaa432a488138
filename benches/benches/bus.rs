//! The cost of an access between the exit and the device: our bus beside what others do, with 32
//! devices whose own work is one load.
//!
//! `spread` goes through the devices in a random order, so that no memory of the last device
//! helps; `same` stays at one device, as a guest printing to its console does. Times are for one
//! access.
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use criterion::Criterion;
use vm_device::bus::PioRange;
use vm_device::device_manager::{IoManager, PioManager};
use vmmkit_device_bus::{AddressRange, DevicePio, PioAddress, PioAddressOffset, PortBus};

/// How many devices there are, each of [`LENGTH`] ports, [`STRIDE`] apart.
const DEVICES: u64 = 32;
const LENGTH: u64 = 8;
const STRIDE: u64 = 0x40;

/// A device that does next to nothing.
struct Register(AtomicU8);

impl DevicePio for Register {
    fn pio_read(&self, _: PioAddress, _: PioAddressOffset, data: &mut [u8]) {
        data.fill(self.0.load(Ordering::Relaxed));
    }

    fn pio_write(&self, _: PioAddress, _: PioAddressOffset, data: &[u8]) {
        self.0
            .store(data.first().copied().unwrap_or_default(), Ordering::Relaxed);
    }
}

type Device = Arc<dyn DevicePio + Send + Sync>;

/// The first ports of the devices.
fn bases() -> impl Iterator<Item = u64> {
    (0..DEVICES).map(|index| 0x100 + index * STRIDE)
}

fn device() -> Device {
    Arc::new(Register(AtomicU8::new(1)))
}

/// 4,096 ports, each inside a device, in an order that a branch predictor does not learn.
fn spread() -> Vec<u16> {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state >> 33
    };
    (0..4096)
        .map(|_| (0x100 + next() % DEVICES * STRIDE + next() % LENGTH) as u16)
        .collect()
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let orders = [
        ("spread", spread()),
        ("same", vec![0x342; 4096]),
        ("unclaimed", vec![0x90; 4096]),
    ];
    for (name, ports) in &orders {
        bench(&mut criterion, name, ports);
    }
    criterion.final_summary();
}

fn bench(criterion: &mut Criterion, order: &str, ports: &[u16]) {
    let mut group = criterion.benchmark_group(format!("bus/{order}"));
    let mut run = |name: &str, read: &mut dyn FnMut(&[u16], &mut [u8])| {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                // One round is one access; whole passes keep the order random.
                let passes = rounds.div_ceil(ports.len() as u64);
                let mut data = [0; 1];
                let start = Instant::now();
                for _ in 0..passes {
                    read(black_box(ports), &mut data);
                }
                scale(start.elapsed(), rounds, passes * ports.len() as u64)
            });
        });
    };

    let bus = ours();
    let mut view = bus.view();
    run("view", &mut |ports, data| {
        for &port in ports {
            view.read_string(port, 1, data);
            black_box(&data);
        }
    });
    run("shared", &mut |ports, data| {
        for &port in ports {
            bus.read(u64::from(port), data);
            black_box(&data);
        }
    });
    let tree = tree();
    run("RwLock<BTreeMap>", &mut |ports, data| {
        for &port in ports {
            read_tree(&tree, u64::from(port), data);
            black_box(&data);
        }
    });
    let manager = Mutex::new(manager());
    run("Mutex<IoManager>", &mut |ports, data| {
        for &port in ports {
            let manager = manager.lock().unwrap_or_else(PoisonError::into_inner);
            if manager.pio_read(PioAddress(port), data).is_err() {
                data.fill(0xff);
            }
            black_box(&data);
        }
    });
    let alone = device();
    run("device alone", &mut |ports, data| {
        for &port in ports {
            black_box(&alone).pio_read(PioAddress(port), 0, data);
            black_box(&data);
        }
    });
    group.finish();
}

/// The part of `time` that `rounds` of `done` accesses took.
fn scale(time: Duration, rounds: u64, done: u64) -> Duration {
    time.mul_f64(rounds as f64 / done as f64)
}

fn ours() -> Arc<PortBus> {
    let bus = Arc::new(PortBus::new());
    for base in bases() {
        let plugged = bus.plug("register", AddressRange::new(base, LENGTH), device());
        assert!(plugged.is_ok(), "{plugged:?}");
    }
    bus
}

/// As many VMMs do: a tree behind a readers-writer lock.
type Tree = RwLock<BTreeMap<u64, (u64, Device)>>;

fn tree() -> Tree {
    RwLock::new(bases().map(|base| (base, (LENGTH, device()))).collect())
}

fn read_tree(tree: &Tree, port: u64, data: &mut [u8]) {
    let devices = tree.read().unwrap_or_else(PoisonError::into_inner);
    match devices.range(..=port).next_back() {
        Some((base, (length, device))) if port - base < *length => {
            device.pio_read(PioAddress(*base as u16), (port - base) as u16, data);
        }
        _ => data.fill(0xff),
    }
}

fn manager() -> IoManager {
    let mut manager = IoManager::new();
    for base in bases() {
        let registered = PioRange::new(PioAddress(base as u16), LENGTH as u16)
            .and_then(|range| manager.register_pio(range, device()));
        assert!(registered.is_ok(), "{registered:?}");
    }
    manager
}
