//! The driver's side of a device, as fast as a guest's kernel: buffers lie where a driver of Linux
//! has them, descriptors are filled in place, and nothing is allocated for a request. Whoever waits
//! does what KVM does with a vCPU that halts: it looks for the device's interrupt for 200 us
//! (halt_poll_ns), and sleeps then until it comes.
//!
//! A kick raises the eventfd that KVM would raise, and an interrupt wakes the thread that made the
//! driver; neither goes through a VM.

use std::error::Error;
use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use vmmkit_device_bus::{DeviceMmio, Lifecycle, MmioAddress};
use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig, RamSize, RamWindow};
use vmmkit_host_io::EventFd;
use vmmkit_virtio::spec::{feature, mmio, split, status};
use vmmkit_virtio::{Device, MmioTransport, QueueLayout, Signal};

/// Where rings begin, and how far apart they are.
const RINGS: u64 = 1 << 20;
const RING_SHARE: u64 = 64 << 10;
/// Where buffers may begin: behind the rings.
pub const BUFFERS: u64 = 2 << 20;

/// How long a vCPU that halts is not put to sleep: KVM's default.
const HALT_POLL: Duration = Duration::from_micros(200);
/// How long a driver waits for its device at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// An error that ends a bench.
pub type Failure = Box<dyn Error>;

/// A device with its driver, on the thread that started it.
#[derive(Debug)]
pub struct Driver {
    mmio: MmioTransport,
    /// The guest's RAM, all of it touched.
    pub ram: GuestRam,
    bell: Arc<Bell>,
    /// By number.
    pub queues: Vec<DriverQueue>,
}

/// One queue of a driver, with EVENT_IDX.
#[derive(Debug)]
pub struct DriverQueue {
    size: u16,
    descriptors: RamWindow,
    available: RamWindow,
    used: RamWindow,
    kick: Arc<EventFd>,
    next_available: u16,
    published: u16,
    next_used: u16,
    /// How many more must be used before the driver is interrupted.
    pub interrupt_after: u16,
}

/// A part of a chain.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Where it is.
    pub address: u64,
    /// Bytes.
    pub length: u32,
    /// Whether the device writes to it.
    pub writable: bool,
}

#[derive(Debug)]
struct Bell {
    driver: Thread,
    rung: AtomicBool,
}

impl Signal for Bell {
    fn signal(&self) {
        // Ordering: pairs with the swap of `sleep`.
        self.rung.store(true, Ordering::Release);
        self.driver.unpark();
    }
}

impl Bell {
    fn sleep(&self) -> Result<(), Failure> {
        let started = Instant::now();
        while started.elapsed() < HALT_POLL {
            for _ in 0..32 {
                // Ordering: see `signal`.
                if self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::Acquire) {
                    return Ok(());
                }
                hint::spin_loop();
            }
        }
        while !self.rung.swap(false, Ordering::Acquire) {
            if started.elapsed() > PATIENCE {
                return Err("the device does not answer".into());
            }
            thread::park_timeout(PATIENCE);
        }
        Ok(())
    }
}

impl Driver {
    /// Drives `device`, with all features but those of `without`, in RAM of this size.
    pub fn start(device: Arc<dyn Device>, without: u64, mebibytes: u32) -> Result<Self, Failure> {
        let ram = GuestRam::new(&RamConfig {
            size: RamSize::mebibytes(mebibytes),
            prefault: true,
            ..RamConfig::default()
        })?;
        let bell = Arc::new(Bell {
            driver: thread::current(),
            rung: AtomicBool::new(false),
        });
        let mut driver = Self {
            mmio: MmioTransport::new("bench0", device, &ram, bell.clone())?,
            ram,
            bell,
            queues: Vec::new(),
        };
        driver.initialise(without)?;
        Ok(driver)
    }

    fn initialise(&mut self, without: u64) -> Result<(), Failure> {
        self.write(mmio::STATUS, 0);
        let mut state = status::ACKNOWLEDGE | status::DRIVER;
        self.write(mmio::STATUS, state.into());
        let features = self.mmio.transport().offered_features() & !without;
        for half in 0..2 {
            self.write(mmio::DRIVER_FEATURES_SEL, half);
            self.write(mmio::DRIVER_FEATURES, (features >> (32 * half)) as u32);
        }
        state |= status::FEATURES_OK;
        self.write(mmio::STATUS, state.into());
        for index in 0..self.mmio.transport().queue_count() {
            self.enable(index)?;
        }
        self.write(mmio::STATUS, (state | status::DRIVER_OK).into());
        let is_ready = self.mmio.transport().status() & status::DRIVER_OK != 0
            && features & feature::EVENT_IDX != 0;
        if is_ready {
            Ok(())
        } else {
            Err("the device is not ready".into())
        }
    }

    fn enable(&mut self, index: u16) -> Result<(), Failure> {
        let transport = self.mmio.transport();
        let size = transport.queue_most(index.into());
        let kick = transport.kick(index).ok_or("a queue without a kick")?;
        let base = RINGS + RING_SHARE * u64::from(index);
        let layout = QueueLayout {
            size,
            descriptors: base,
            available: base + 0x4000,
            used: base + 0x8000,
        };
        let count = usize::from(size);
        let window = |at, length| self.ram.window(GuestAddress(at), length);
        let queue = DriverQueue {
            size,
            descriptors: window(layout.descriptors, 16 * count)?,
            available: window(layout.available, 6 + 2 * count)?,
            used: window(layout.used, 6 + 8 * count)?,
            kick: kick.clone(),
            next_available: 0,
            published: 0,
            next_used: 0,
            interrupt_after: 1,
        };
        self.queues.push(queue);
        self.write(mmio::QUEUE_SEL, index.into());
        self.write(mmio::QUEUE_SIZE, size.into());
        for (register, address) in [
            (mmio::QUEUE_DESC_LOW, layout.descriptors),
            (mmio::QUEUE_DRIVER_LOW, layout.available),
            (mmio::QUEUE_DEVICE_LOW, layout.used),
        ] {
            // The upper halves are zero from the reset on.
            self.write(register, address as u32);
        }
        self.write(mmio::QUEUE_READY, 1);
        Ok(())
    }

    fn write(&self, register: u64, value: u32) {
        self.mmio
            .mmio_write(MmioAddress(0), register, &value.to_le_bytes());
    }

    /// The queue `index`.
    pub fn queue(&mut self, index: usize) -> Result<&mut DriverQueue, Failure> {
        Ok(self.queues.get_mut(index).ok_or("no such queue")?)
    }

    /// Has the device rest, so that something can be prepared.
    pub fn pause(&self) {
        self.mmio.pause();
        self.mmio.wait_paused();
    }

    /// Has it go on.
    pub fn resume(&self) {
        self.mmio.resume();
    }

    /// Sleeps until one of the queues `indices` has something used.
    pub fn wait(&mut self, indices: &[usize]) -> Result<(), Failure> {
        loop {
            for index in indices {
                if self.queue(*index)?.has_used() {
                    return Ok(());
                }
            }
            let mut is_used = false;
            for index in indices {
                is_used |= self.queue(*index)?.want_interrupt();
            }
            if !is_used {
                if self.mmio.transport().fault().needs_reset() {
                    let reason = self.mmio.transport().fault().reason();
                    return Err(reason.unwrap_or_default().into());
                }
                self.bell.sleep()?;
            }
        }
    }
}

impl DriverQueue {
    /// Its entries.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Writes a chain of descriptors that begins at `head` and goes on in those that follow.
    pub fn describe(&self, head: u16, parts: &[Part]) {
        for (place, part) in parts.iter().enumerate() {
            let index = head + place as u16;
            let mut flags = if part.writable {
                split::DESC_F_WRITE
            } else {
                0
            };
            if place + 1 < parts.len() {
                flags |= split::DESC_F_NEXT;
            }
            let rest = u64::from(part.length)
                | u64::from(flags) << 32
                | u64::from(index.wrapping_add(1)) << 48;
            let at = 16 * usize::from(index);
            let view = self.descriptors.view();
            let _ = view.store_u64(at, part.address, Ordering::Relaxed);
            let _ = view.store_u64(at + 8, rest, Ordering::Relaxed);
        }
    }

    /// Makes the chain of `head` available; the device sees it after [`publish`](Self::publish).
    pub fn offer(&mut self, head: u16) {
        let at = 4 + 2 * usize::from(self.next_available & (self.size - 1));
        let view = self.available.view();
        let _ = view.store_u16(at, head, Ordering::Relaxed);
        self.next_available = self.next_available.wrapping_add(1);
    }

    /// Shows the device what was offered, and kicks it if it wants that.
    pub fn publish(&mut self) {
        let (old, new) = (self.published, self.next_available);
        if old == new {
            return;
        }
        let view = self.available.view();
        let _ = view.store_u16(2, new, Ordering::Release);
        self.published = new;
        // Ordering: the device stores its wish before it looks at the index for the last time.
        fence(Ordering::SeqCst);
        let place = 4 + 8 * usize::from(self.size);
        let event = self.used.view().load_u16(place, Ordering::Relaxed);
        let event = event.unwrap_or_default();
        if new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old) {
            self.kick.notify();
        }
    }

    /// Whether something is used that was not taken.
    pub fn has_used(&self) -> bool {
        let index = self.used.view().load_u16(2, Ordering::Acquire);
        index.is_some_and(|index| index != self.next_used)
    }

    /// Takes the next chain that is used: its head, and how many bytes were written to it.
    pub fn take(&mut self) -> Option<(u16, u32)> {
        if !self.has_used() {
            return None;
        }
        let view = self.used.view();
        let at = 4 + 8 * usize::from(self.next_used & (self.size - 1));
        let head = view.load_u32(at, Ordering::Relaxed)?;
        let length = view.load_u32(at + 4, Ordering::Relaxed)?;
        self.next_used = self.next_used.wrapping_add(1);
        Some((head as u16, length))
    }

    /// Asks for an interrupt after `interrupt_after` more chains; whether they are used by now.
    fn want_interrupt(&self) -> bool {
        let place = 4 + 2 * usize::from(self.size);
        let view = self.available.view();
        let more = self.interrupt_after.saturating_sub(1);
        let _ = view.store_u16(place, self.next_used.wrapping_add(more), Ordering::Relaxed);
        // Ordering: the wish must be seen by a device that stores its index after the load below.
        fence(Ordering::SeqCst);
        let index = self.used.view().load_u16(2, Ordering::Acquire);
        index.is_some_and(|index| index.wrapping_sub(self.next_used) > more)
    }
}
