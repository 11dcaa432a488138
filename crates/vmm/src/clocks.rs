//! The clocks of a machine, which stand still while it is paused: a guest sees no gap.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use vmmkit_hypervisor::GuestClock;

/// The hypervisor's clocks and the machine's own.
#[derive(Default)]
pub(crate) struct Clocks {
    hypervisor: Option<Arc<dyn GuestClock>>,
    machine: Arc<Stopwatch>,
}

impl Clocks {
    pub(crate) fn new(hypervisor: Arc<dyn GuestClock>, machine: Arc<Stopwatch>) -> Self {
        Self {
            hypervisor: Some(hypervisor),
            machine,
        }
    }

    /// No vCPU runs any more. Where the host refuses, the guest sees the gap.
    pub(crate) fn stop(&self) {
        self.machine.stop();
        if let Some(clock) = &self.hypervisor {
            let _ = clock.stop();
        }
    }

    /// The vCPUs are about to run.
    pub(crate) fn start(&self) {
        if let Some(clock) = &self.hypervisor {
            let _ = clock.start();
        }
        self.machine.start();
    }
}

/// Time since a machine was built, without that for which it was paused.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    built: Instant,
    /// Nanoseconds of all pauses that are over.
    paused: AtomicU64,
    stopped: Mutex<Option<Instant>>,
}

impl Default for Stopwatch {
    fn default() -> Self {
        Self {
            built: Instant::now(),
            paused: AtomicU64::new(0),
            stopped: Mutex::default(),
        }
    }
}

impl Stopwatch {
    /// Nanoseconds of it. Asked while no pause lasts: by vCPUs.
    pub(crate) fn nanoseconds(&self) -> u64 {
        since(self.built).saturating_sub(self.paused.load(Ordering::Relaxed))
    }

    fn stop(&self) {
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        stopped.get_or_insert_with(Instant::now);
    }

    fn start(&self) {
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = stopped.take() {
            self.paused.fetch_add(since(at), Ordering::Relaxed);
        }
    }
}

/// 64 bits of nanoseconds last for 584 years.
fn since(then: Instant) -> u64 {
    u64::try_from(then.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
