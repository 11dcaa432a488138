//! One interrupt for everything, and registers that say what for (InterruptStatus and InterruptACK of
//! section 4.2.2).

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{StateError, StateReason};
use vmmkit_host_io::EventFd;

use crate::spec::mmio;
use crate::{Interrupts, Signal};

/// The interrupt of a device by MMIO, with its causes. The device's threads raise it, a vCPU's
/// reads and acknowledges.
pub(super) struct MmioInterrupts {
    signal: Arc<dyn Signal>,
    is_configuration: AtomicBool,
    /// How often a queue's was raised; how often, when the driver last saw that; how often, when it
    /// acknowledged what it had seen.
    raised: AtomicU64,
    seen: AtomicU64,
    acknowledged: AtomicU64,
    /// Raised by the acknowledgements that the hypervisor takes.
    taken: OnceLock<EventFd>,
}

/// The causes that are not acknowledged, as they are saved.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedInterrupts {
    configuration: bool,
    queue: bool,
    /// Whether the driver has seen all that was raised of queues, which the hypervisor may then acknowledge.
    is_queue_seen: bool,
}

impl SavedInterrupts {
    pub(super) fn check(self) -> Result<(), StateError> {
        if self.is_queue_seen && !self.queue {
            let reason = StateReason::Contradicts("queue");
            return Err(StateError::field("", "is_queue_seen", true, reason));
        }
        Ok(())
    }
}

impl MmioInterrupts {
    /// The causes. The driver does not see them by that.
    pub(super) fn save(&self) -> SavedInterrupts {
        self.take_acknowledgements();
        let raised = self.raised.load(Ordering::SeqCst);
        let queue = raised > self.acknowledged.load(Ordering::SeqCst);
        SavedInterrupts {
            configuration: self.is_configuration.load(Ordering::SeqCst),
            queue,
            is_queue_seen: queue && self.seen.load(Ordering::SeqCst) >= raised,
        }
    }

    /// Goes to what was saved and [checked](SavedInterrupts::check), without a signal.
    pub(super) fn restore(&self, saved: SavedInterrupts) {
        if let Some(taken) = self.taken.get() {
            taken.drain();
        }
        self.is_configuration
            .store(saved.configuration, Ordering::SeqCst);
        self.acknowledged.store(0, Ordering::SeqCst);
        self.seen
            .store(saved.is_queue_seen.into(), Ordering::SeqCst);
        self.raised.store(saved.queue.into(), Ordering::SeqCst);
    }

    /// Takes over what the hypervisor has taken.
    fn take_acknowledgements(&self) {
        if self.taken.get().is_some_and(|taken| taken.drain() > 0) {
            let seen = self.seen.load(Ordering::SeqCst);
            self.acknowledged.fetch_max(seen, Ordering::SeqCst);
        }
    }

    pub(super) fn new(signal: Arc<dyn Signal>) -> Self {
        Self {
            signal,
            is_configuration: AtomicBool::new(false),
            raised: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            taken: OnceLock::new(),
        }
    }

    /// The eventfd that the hypervisor may raise for the driver's writing INT_VRING to InterruptACK.
    pub(super) fn taken(&self) -> io::Result<&EventFd> {
        if self.taken.get().is_none() {
            let _ = self.taken.set(EventFd::new()?);
        }
        self.taken
            .get()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// InterruptStatus. What is raised after it was read is not acknowledged by what the
    /// hypervisor takes, and so never lost: the driver sees a cause once too often at worst.
    pub(super) fn status(&self) -> u32 {
        self.take_acknowledgements();
        let mut status = 0;
        if self.is_configuration.load(Ordering::SeqCst) {
            status |= mmio::INT_CONFIG;
        }
        let raised = self.raised.load(Ordering::SeqCst);
        if raised > self.acknowledged.load(Ordering::SeqCst) {
            self.seen.fetch_max(raised, Ordering::SeqCst);
            status |= mmio::INT_VRING;
        }
        status
    }

    /// InterruptACK.
    pub(super) fn acknowledge(&self, causes: u32) {
        if causes & mmio::INT_CONFIG != 0 {
            self.is_configuration.store(false, Ordering::SeqCst);
        }
        if causes & mmio::INT_VRING != 0 {
            let raised = self.raised.load(Ordering::SeqCst);
            self.acknowledged.fetch_max(raised, Ordering::SeqCst);
        }
    }

    /// As at power-on.
    pub(super) fn forget(&self) {
        if let Some(taken) = self.taken.get() {
            taken.drain();
        }
        self.acknowledge(mmio::INT_CONFIG | mmio::INT_VRING);
    }
}

impl Interrupts for MmioInterrupts {
    fn queue(&self, _index: u16) {
        // Ordering: the handler reads the status because of the signal.
        self.raised.fetch_add(1, Ordering::SeqCst);
        self.signal.signal();
    }

    fn configuration(&self) {
        // Ordering: as above.
        self.is_configuration.store(true, Ordering::SeqCst);
        self.signal.signal();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::mmio::{INT_CONFIG, INT_VRING};

    struct Silent;
    impl Signal for Silent {
        fn signal(&self) {}
    }

    fn interrupts() -> MmioInterrupts {
        MmioInterrupts::new(Arc::new(Silent))
    }

    #[test]
    fn a_cause_stays_until_it_is_acknowledged() {
        let interrupts = interrupts();
        assert_eq!(interrupts.status(), 0);
        interrupts.queue(0);
        interrupts.configuration();
        assert_eq!(interrupts.status(), INT_VRING | INT_CONFIG);
        interrupts.acknowledge(INT_VRING);
        assert_eq!(interrupts.status(), INT_CONFIG);
        interrupts.acknowledge(INT_CONFIG);
        assert_eq!(interrupts.status(), 0);
    }

    #[test]
    fn what_the_hypervisor_takes_acknowledges_what_the_driver_has_seen() {
        let interrupts = interrupts();
        interrupts.queue(0);
        assert_eq!(interrupts.status(), INT_VRING);
        interrupts.taken().unwrap().notify();
        assert_eq!(interrupts.status(), 0);
    }

    #[test]
    fn what_is_raised_between_status_and_acknowledgement_is_not_lost() {
        let interrupts = interrupts();
        interrupts.taken().unwrap();
        interrupts.queue(0);
        assert_eq!(interrupts.status(), INT_VRING);
        interrupts.queue(1);
        interrupts.taken().unwrap().notify();
        assert_eq!(interrupts.status(), INT_VRING);
        interrupts.taken().unwrap().notify();
        assert_eq!(interrupts.status(), 0);
    }

    #[test]
    fn a_reset_forgets_causes_and_acknowledgements() {
        let interrupts = interrupts();
        interrupts.queue(0);
        interrupts.configuration();
        interrupts.taken().unwrap().notify();
        interrupts.forget();
        assert_eq!(interrupts.status(), 0);
        interrupts.queue(0);
        assert_eq!(interrupts.status(), INT_VRING);
    }
}
