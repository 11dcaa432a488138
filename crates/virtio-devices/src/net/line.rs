//! State shared by the engines of a device, its control queue and the VMM.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};
use vmmkit_host_io::EventFd;
use vmmkit_virtio::ConfigChange;

use super::NetBackend;
use super::spec::{HEADER, feature};
use super::stats::{FlowCount, NetStats};

/// State shared by all pairs of a device. Lock order: none is held while another is taken.
pub(super) struct Shared {
    pub(super) lines: Vec<Line>,
    /// Whether the VMM has plugged the cable in.
    // Ordering: each is a setting or flag of its own; nothing else is read because of it.
    is_plugged: AtomicBool,
    /// Whether a back end has come to its end.
    is_lost: AtomicBool,
    lost: Mutex<Option<String>>,
    /// How many pairs the driver uses.
    pairs: AtomicU16,
    /// The offloads that the driver takes now.
    offloads: AtomicU64,
    change: OnceLock<ConfigChange>,
    on_lost: OnceLock<OnLost>,
}

/// One pair of queues.
pub(super) struct Line {
    /// The engine of the pair holds it for a batch; the control queue for a change.
    host: Mutex<Host>,
    /// Wakes the engine: the kick of its receive queue.
    wake: Mutex<Option<Arc<EventFd>>>,
    pub(super) received: FlowCount,
    pub(super) transmitted: FlowCount,
}

/// The host's side of a pair.
pub(super) struct Host {
    pub(super) backend: Box<dyn NetBackend>,
    /// Whether the driver uses the pair.
    pub(super) is_attached: bool,
}

impl Shared {
    pub(super) fn new(backends: Vec<Box<dyn NetBackend>>) -> Self {
        let line = |backend| Line {
            host: Mutex::new(Host {
                backend,
                is_attached: true,
            }),
            wake: Mutex::default(),
            received: FlowCount::default(),
            transmitted: FlowCount::default(),
        };
        Self {
            lines: backends.into_iter().map(line).collect(),
            is_plugged: AtomicBool::new(true),
            is_lost: AtomicBool::new(false),
            lost: Mutex::default(),
            pairs: AtomicU16::new(0),
            offloads: AtomicU64::new(0),
            change: OnceLock::new(),
            on_lost: OnceLock::new(),
        }
    }

    pub(super) fn connect(&self, change: ConfigChange) {
        // A device has one transport.
        let _ = self.change.set(change);
    }

    #[inline]
    pub(super) fn is_up(&self) -> bool {
        self.is_plugged.load(Ordering::Relaxed) && !self.is_lost.load(Ordering::Relaxed)
    }

    pub(super) fn set_plugged(&self, is_plugged: bool) {
        if self.is_plugged.swap(is_plugged, Ordering::Relaxed) != is_plugged {
            self.notify();
        }
    }

    pub(super) fn is_plugged(&self) -> bool {
        self.is_plugged.load(Ordering::Relaxed)
    }

    /// A back end has come to its end: the link is down for good.
    pub(super) fn lose(&self, error: &io::Error) {
        let mut lost = self.lost.lock();
        if lost.is_none() {
            tracing::warn!(error = %error, "a network back end is lost: the link is down");
            *lost = Some(error.to_string());
            drop(lost);
            self.is_lost.store(true, Ordering::Relaxed);
            self.notify();
            if let Some(tell) = self.on_lost.get() {
                (tell.0)(&error.to_string());
            }
        }
    }

    pub(super) fn on_lost(&self, tell: Box<dyn Fn(&str) + Send + Sync>) {
        let _ = self.on_lost.set(OnLost(tell));
    }

    pub(super) fn lost(&self) -> Option<String> {
        self.lost.lock().clone()
    }

    fn notify(&self) {
        if let Some(change) = self.change.get() {
            change.notify();
        }
    }

    pub(super) fn pairs(&self) -> u16 {
        self.pairs.load(Ordering::Relaxed)
    }

    /// The driver uses the first `pairs` pairs: when this returns, no others get packets.
    pub(super) fn set_pairs(&self, pairs: u16) -> io::Result<()> {
        for (index, line) in (0..).zip(&self.lines) {
            line.set_attached(index < pairs)?;
        }
        self.pairs.store(pairs, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn offloads(&self) -> u64 {
        self.offloads.load(Ordering::Relaxed)
    }

    /// The driver takes those of the offloads.
    pub(super) fn set_offloads(&self, features: u64) -> io::Result<()> {
        let offloads = features & feature::GUEST_OFFLOADS;
        if let Some(line) = self.lines.first() {
            line.host().backend.set_offloads(offloads)?;
        }
        self.offloads.store(offloads, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn stats(&self) -> NetStats {
        let mut sum = NetStats::default();
        for line in &self.lines {
            sum.add(NetStats {
                received: line.received.read(),
                transmitted: line.transmitted.read(),
            });
        }
        sum
    }
}

impl Line {
    pub(super) fn host(&self) -> MutexGuard<'_, Host> {
        self.host.lock()
    }

    pub(super) fn set_wake(&self, wake: Option<Arc<EventFd>>) {
        *self.wake.lock() = wake;
    }

    fn set_attached(&self, is_attached: bool) -> io::Result<()> {
        let mut host = self.host();
        if host.is_attached == is_attached {
            return Ok(());
        }
        host.backend.set_attached(is_attached)?;
        host.is_attached = is_attached;
        drop(host);
        if let Some(wake) = &*self.wake.lock() {
            wake.notify();
        }
        Ok(())
    }
}

/// Bytes of a packet of `length` that are the frame's.
#[inline]
pub(super) fn frame_bytes(length: usize) -> u64 {
    length.saturating_sub(HEADER) as u64
}

/// Is told of the end of the back end.
struct OnLost(Box<dyn Fn(&str) + Send + Sync>);

impl fmt::Debug for OnLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnLost")
    }
}
