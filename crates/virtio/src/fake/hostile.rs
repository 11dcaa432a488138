//! A driver that breaks the rules, at random and for its own sake: every device must survive it.

use std::sync::Arc;
use std::time::Duration;

use vmmkit_device_bus::Lifecycle;
use vmmkit_guest_memory::RamConfig;

use super::{Driver, DriverError, Options, PciSlot, TransportKind};
use crate::Device;
use crate::spec::pci::common;
use crate::spec::{feature, mmio};

/// Random numbers that are the same everywhere (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, which must not be 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end.max(1)
    }
}

/// The result of a hostile driver's work on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survival {
    /// Rounds that ended with DEVICE_NEEDS_RESET.
    pub needed_reset: u32,
    /// Rounds that did not.
    pub went_on: u32,
}

/// Drives `device` against the rules for `rounds`, with the chances of `seed`: random registers,
/// configuration writes, descriptors, ring entries and buffers, resets, pauses. After each round the
/// device must be reset and initialised as if nothing had been; a device that hangs hangs the test.
/// Half of the rounds are on MMIO, then half on PCI.
///
/// # Errors
/// [`DriverError`] where it cannot be driven any more.
pub fn torture(device: &Arc<dyn Device>, seed: u64, rounds: u32) -> Result<Survival, DriverError> {
    torture_in(device, &Options::default().ram, seed, rounds)
}

/// As [`torture`], in RAM as `ram` says.
///
/// # Errors
/// [`DriverError`] where it cannot be driven any more.
pub fn torture_in(
    device: &Arc<dyn Device>,
    ram: &RamConfig,
    seed: u64,
    rounds: u32,
) -> Result<Survival, DriverError> {
    let by_mmio = torture_by(TransportKind::Mmio, device, ram, seed, rounds.div_ceil(2))?;
    let by_pci = torture_by(TransportKind::Pci, device, ram, !seed, rounds / 2)?;
    Ok(Survival {
        needed_reset: by_mmio.needed_reset + by_pci.needed_reset,
        went_on: by_mmio.went_on + by_pci.went_on,
    })
}

/// As [`torture_in`], on one transport.
///
/// # Errors
/// [`DriverError`] where it cannot be driven any more.
pub fn torture_by(
    transport: TransportKind,
    device: &Arc<dyn Device>,
    ram: &RamConfig,
    seed: u64,
    rounds: u32,
) -> Result<Survival, DriverError> {
    let options = Options {
        queue_size: 16,
        ram: ram.clone(),
        transport,
        packed: true,
        ..Options::default()
    };
    harass(
        &mut Driver::attach(device.clone(), &options)?,
        options,
        seed,
        rounds,
    )
}

/// As [`torture_by`], of a device that is attached.
///
/// # Errors
/// [`DriverError`] where it cannot be driven any more.
pub fn harass(
    driver: &mut Driver,
    mut options: Options,
    seed: u64,
    rounds: u32,
) -> Result<Survival, DriverError> {
    let mut random = Random::new(seed);
    let mut survival = Survival::default();
    for _ in 0..rounds {
        options.features = if random.below(2) == 0 {
            u64::MAX
        } else {
            random.number()
        };
        if random.below(2) == 0 {
            options.features &= !feature::RING_PACKED;
        }
        // A device may need features that chance left out; the next round has others.
        if driver.initialise(&options).is_ok() {
            for _ in 0..8 {
                mischief(driver, &mut random);
            }
        }
        if driver.transport().transport().fault().needs_reset() {
            survival.needed_reset += 1;
        } else {
            survival.went_on += 1;
        }
        options.features = u64::MAX;
        driver.initialise(&options)?;
    }
    Ok(survival)
}

fn mischief(driver: &mut Driver, random: &mut Random) {
    let queues = driver.transport().transport().queue_count();
    let queue = random.below(queues.into()) as u16;
    match random.below(10) {
        0..=3 => odd_request(driver, random, queue),
        4 if random.below(4) == 0 => bad_chain(driver, random, queue),
        5 if random.below(4) == 0 => {
            let layout = driver.layout(queue);
            let value = random.number() as u16;
            driver.poke(layout.available + 2, &value.to_le_bytes());
        }
        4..=6 => {
            if let Some(slot) = driver.transport().pci() {
                pci_mischief(slot, random);
            }
            let offset = random.below(mmio::CONFIG / 4) * 4;
            // A change of the status would end the round.
            if offset != mmio::STATUS {
                driver.write(offset, random.number() as u32);
            }
        }
        7 => {
            let bytes = random.number().to_le_bytes();
            let width = 1 << random.below(4);
            let offset = random.below(64);
            let bytes = bytes.get(..width).unwrap_or_default();
            driver.set_config(offset, bytes);
            let mut answer = [0; 8];
            let answer = answer.get_mut(..width).unwrap_or_default();
            driver.read_config(offset, answer);
        }
        8 => driver.reset_queue(queue),
        _ => {
            let transport = driver.transport();
            transport.pause();
            transport.wait_paused();
            transport.resume();
        }
    }
    driver.write(mmio::QUEUE_NOTIFY, queue.into());
    // Time for the device to fall for it, now and then.
    if random.below(4) == 0 {
        let _ = driver.wait_for(queue, Duration::from_millis(1));
    }
}

/// Accesses of the configuration space, of any kind, and of what the base address leads to.
fn pci_mischief(slot: &PciSlot, random: &mut Random) {
    let bytes = random.number().to_le_bytes();
    let (msix, window) = slot.capabilities();
    let register = match random.below(4) {
        0 => random.below(256) as u16,
        1 => 4 + random.below(0x24) as u16,
        2 => msix + random.below(12) as u16,
        _ => window + random.below(20) as u16,
    };
    let width = 1 + random.below(4 - u64::from(register & 3)) as usize;
    slot.set_config(register, bytes.get(..width).unwrap_or_default());
    slot.config(register & 0xfc);
    let regions = slot.memory().regions();
    let Some(bar) = regions.iter().find(|region| region.range.length > 0x1000) else {
        return;
    };
    let part = random.below(16) * 0x1000;
    let most = if random.below(2) == 0 { 64 } else { 0x1000 };
    let offset = part + random.below(most);
    let mut answer = bytes;
    let width = 1 << random.below(4);
    let answer = answer.get_mut(..width).unwrap_or_default();
    slot.memory().read(bar.range.base + offset, answer);
    if offset != common::DEVICE_STATUS {
        let bytes = bytes.get(..width).unwrap_or_default();
        slot.memory().write(bar.range.base + offset, bytes);
    }
}

/// A chain that keeps the rules of the ring, and holds anything.
fn odd_request(driver: &mut Driver, random: &mut Random, queue: u16) {
    let mut readable = Vec::new();
    for _ in 0..random.below(4) {
        let most = 4 << (2 * random.below(6));
        let length = 1 + random.below(most);
        // Small numbers are what requests are told apart by.
        let most = 2 << (random.below(3) * 3);
        let bytes = (0..length).map(|_| random.below(most) as u8);
        readable.push(bytes.collect::<Vec<u8>>());
    }
    let writable = (0..random.below(4)).map(|_| 1 + random.below(6000) as usize);
    let writable: Vec<usize> = writable.collect();
    let readable: Vec<&[u8]> = readable.iter().map(Vec::as_slice).collect();
    // A queue that is full takes no more.
    if driver.add(queue, &readable, &writable).is_ok() {
        driver.kick(queue);
    }
}

/// Writes a chain of random descriptors, some of them half right, and makes it available.
fn bad_chain(driver: &mut Driver, random: &mut Random, queue: u16) {
    let layout = driver.layout(queue);
    let count = u64::from(layout.size.max(1));
    let indirect = driver.features() & feature::INDIRECT_DESC != 0;
    let packed = driver.features() & feature::RING_PACKED != 0;
    for index in 0..random.below(count) {
        let address = match random.below(4) {
            0 => random.number(),
            // Over the rings themselves.
            1 => layout.descriptors + random.below(1024),
            _ => random.below(driver.ram().size()),
        };
        let length = match random.below(4) {
            0 => random.number() as u32,
            1 => 0,
            _ => random.below(8192) as u32,
        };
        let flags = match random.below(8) {
            0 => random.number() as u16,
            1 if indirect => 4,
            other => (other & 3) as u16,
        };
        let next = if random.below(8) == 0 {
            random.number() as u16
        } else {
            index as u16 + 1
        };
        let at = layout.descriptors + 16 * index;
        driver.poke(at, &address.to_le_bytes());
        driver.poke(at + 8, &length.to_le_bytes());
        let (first, last) = match packed {
            // ID and flags: available, now or after another round, or used.
            true => (
                next,
                flags | (random.below(2) as u16) << 7 | (random.below(2) as u16) << 15,
            ),
            false => (flags, next),
        };
        driver.poke(at + 12, &first.to_le_bytes());
        driver.poke(at + 14, &last.to_le_bytes());
        if address < driver.ram().size() {
            driver.poke(address, &random.number().to_le_bytes());
        }
    }
    if packed {
        driver.write(mmio::QUEUE_NOTIFY, queue.into());
        return;
    }
    let entry = random.below(count);
    let head = random.below(count + 1) as u16;
    driver.poke(layout.available + 4 + 2 * entry, &head.to_le_bytes());
    let ahead = random.below(count + 2) as u16;
    driver.poke(layout.available + 2, &ahead.to_le_bytes());
}
