//! From the device to the driver: interrupts, and the end of all work.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tracing::{debug, warn};
use vmmkit_device_bus::IrqLine;
use vmmkit_host_io::EventFd;
use vmmkit_telemetry::Occasions;

use crate::RingError;

/// One way to interrupt a guest.
pub trait Signal: Send + Sync {
    /// Interrupts it. Any thread may call it; it does not block.
    fn signal(&self);
}

impl Signal for EventFd {
    /// An eventfd that the hypervisor turns into an interrupt.
    fn signal(&self) {
        self.notify();
    }
}

impl Signal for IrqLine {
    /// An edge.
    fn signal(&self) {
        self.pulse();
    }
}

/// The interrupts of one device, as its transport delivers them.
pub trait Interrupts: Send + Sync {
    /// Buffers of queue `index` were used.
    fn queue(&self, index: u16);
    /// The configuration changed, or the device needs a reset.
    fn configuration(&self);
}

/// The interrupt of one queue, for whoever learns by other means than the queue itself that its
/// buffers were used: another process serves it.
#[derive(Clone)]
pub struct QueueInterrupt {
    index: u16,
    interrupts: Arc<dyn Interrupts>,
}

impl QueueInterrupt {
    pub(crate) fn new(index: u16, interrupts: Arc<dyn Interrupts>) -> Self {
        Self { index, interrupts }
    }
}

impl Signal for QueueInterrupt {
    /// Whether the driver wants it is not looked at.
    fn signal(&self) {
        self.interrupts.queue(self.index);
    }
}

impl fmt::Debug for QueueInterrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueInterrupt")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// Whether a device can go on, and why not.
pub struct Fault {
    name: Arc<str>,
    needs_reset: AtomicBool,
    // Ordering: a count.
    count: AtomicU64,
    reason: Mutex<Option<String>>,
    interrupts: Arc<dyn Interrupts>,
    faults: Occasions,
    drivers: Occasions,
    losses: Occasions,
    pub(crate) watcher: OnceLock<Watcher>,
}

/// Events between a device and its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportEvent {
    /// A driver is ready, and the device works for it.
    DriverReady,
    /// The device cannot go on until its driver resets it, for this reason.
    NeedsReset(String),
    /// The server of the device is lost, for this reason. The driver's requests wait for it.
    Lost(String),
    /// The server of the device is back, and works on the requests that waited.
    Back,
}

/// Is told of what happens between a device and its driver, on the thread where it happens: it must
/// not block, and not call the transport.
pub type Watcher = Box<dyn Fn(TransportEvent) + Send + Sync>;

impl Fault {
    pub(crate) fn new(name: Arc<str>, interrupts: Arc<dyn Interrupts>) -> Self {
        Self {
            name,
            needs_reset: AtomicBool::new(false),
            count: AtomicU64::new(0),
            reason: Mutex::new(None),
            interrupts,
            faults: Occasions::default(),
            drivers: Occasions::default(),
            losses: Occasions::default(),
            watcher: OnceLock::new(),
        }
    }

    /// The device cannot go on: the driver sees DEVICE_NEEDS_RESET and is interrupted
    /// (virtio 1.2, section 2.1.2). The first reason since the last reset is kept.
    pub fn report(&self, reason: impl Into<String>) {
        self.report_of(None, reason.into());
    }

    /// The server of the device outside of this process is lost, for this reason: requests wait until it
    /// is [back](Self::back). The driver sees nothing of that.
    pub fn lost(&self, reason: impl Into<String>) {
        let reason = reason.into();
        if let Some(count) = self.losses.next() {
            warn!(device = %self.name, reason, count, "what serves the device is lost");
        }
        self.tell(TransportEvent::Lost(reason));
    }

    /// The server of the device is back.
    pub fn back(&self) {
        if let Some(count) = self.losses.next() {
            warn!(device = %self.name, count, "what serves the device is back");
        }
        self.tell(TransportEvent::Back);
    }

    fn report_of(&self, queue: Option<u16>, reason: String) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.reason.lock();
        // Ordering: the driver reads the status because of the interrupt below.
        if !self.needs_reset.swap(true, Ordering::SeqCst) {
            *kept = Some(reason.clone());
            drop(kept);
            if let Some(count) = self.faults.next() {
                warn!(device = %self.name, queue, reason, count, "device needs a reset");
            }
            self.interrupts.configuration();
            self.tell(TransportEvent::NeedsReset(reason));
        }
    }

    /// Tells the watcher, where there is one.
    pub(crate) fn tell(&self, event: TransportEvent) {
        if let Some(watcher) = self.watcher.get() {
            watcher(event);
        }
    }

    /// The driver broke the rules of queue `index`.
    pub(crate) fn ring(&self, index: u16, error: RingError) {
        self.report_of(Some(index), format!("queue {index}: {error}"));
    }

    /// A driver is ready, with these features.
    pub(crate) fn driver_ready(&self, features: u64) {
        if let Some(count) = self.drivers.next() {
            debug!(device = %self.name, features = %format_args!("{features:#x}"), count, "driver ready");
        }
        self.tell(TransportEvent::DriverReady);
    }

    /// A device that worked was reset.
    pub(crate) fn driver_gone(&self) {
        if let Some(count) = self.drivers.next() {
            debug!(device = %self.name, count, "device reset");
        }
    }

    /// Whether the device cannot go on.
    pub fn needs_reset(&self) -> bool {
        self.needs_reset.load(Ordering::SeqCst)
    }

    /// How often something was reported, over all resets.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The first reason since the last reset.
    pub fn reason(&self) -> Option<String> {
        self.reason.lock().clone()
    }

    /// Goes to what was saved: the driver has been told then.
    pub(crate) fn restore(&self, needs_reset: bool) {
        let reason = "it needed a reset when it was saved";
        *self.reason.lock() = needs_reset.then(|| reason.to_owned());
        self.needs_reset.store(needs_reset, Ordering::SeqCst);
    }

    pub(crate) fn reset(&self) {
        *self.reason.lock() = None;
        self.needs_reset.store(false, Ordering::SeqCst);
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("count", &self.count())
            .field("reason", &self.reason())
            .finish_non_exhaustive()
    }
}
