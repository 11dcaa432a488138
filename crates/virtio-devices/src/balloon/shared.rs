//! State shared by the device, its engine and the VMM.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use vmmkit_host_io::EventFd;
use vmmkit_virtio::ConfigChange;

use super::{BalloonCounters, BalloonReport, BalloonStats, spec};

/// The state that the guest can see: the configuration (5.5.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Visible {
    /// Pages that the balloon should have.
    pub(super) target: u32,
    /// Pages that it has, by the driver.
    pub(super) actual: u32,
    /// The driver's contents of free pages.
    pub(super) poison: u32,
}

impl Visible {
    /// The configuration as the driver reads it.
    pub(super) fn config(&self) -> [u8; spec::CONFIG_SIZE] {
        let mut config = [0; spec::CONFIG_SIZE];
        for (offset, value) in [
            (spec::CONFIG_NUM_PAGES, self.target),
            (spec::CONFIG_ACTUAL, self.actual),
            (spec::CONFIG_POISON_VAL, self.poison),
        ] {
            let bytes = value.to_le_bytes();
            for (byte, value) in config.iter_mut().skip(offset).zip(bytes) {
                *byte = value;
            }
        }
        config
    }

    /// The driver writes bytes of the configuration; those that are not its own stay.
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let mut config = self.config();
        for (byte, value) in config.iter_mut().skip(offset).zip(bytes) {
            *byte = *value;
        }
        let field = |offset: usize| {
            let bytes = config.iter().skip(offset).take(4).rev();
            bytes.fold(0_u32, |value, byte| value << 8 | u32::from(*byte))
        };
        self.actual = field(spec::CONFIG_ACTUAL);
        self.poison = field(spec::CONFIG_POISON_VAL);
    }
}

/// The shared state. No lock is held while another is taken.
#[derive(Debug)]
pub(super) struct Shared {
    visible: Mutex<Visible>,
    change: Mutex<Option<ConfigChange>>,
    report: Mutex<Option<(Instant, BalloonStats)>>,
    interval: Mutex<Option<Duration>>,
    counters: Mutex<BalloonCounters>,
    is_asked: AtomicBool,
    /// Wakes the engine for the interval and what is asked.
    wake: EventFd,
}

impl Shared {
    pub(super) fn new(wake: EventFd) -> Self {
        Self {
            visible: Mutex::default(),
            change: Mutex::default(),
            report: Mutex::default(),
            interval: Mutex::default(),
            counters: Mutex::default(),
            is_asked: AtomicBool::new(false),
            wake,
        }
    }

    pub(super) fn visible(&self) -> Visible {
        *self.visible.lock()
    }

    pub(super) fn set_target(&self, pages: u32) {
        self.visible.lock().target = pages;
        self.tell();
    }

    pub(super) fn write_config(&self, offset: usize, bytes: &[u8]) {
        self.visible.lock().write(offset, bytes);
    }

    pub(super) fn connect(&self, change: ConfigChange) {
        *self.change.lock() = Some(change);
    }

    /// Tells the driver that the configuration has changed.
    fn tell(&self) {
        let change = self.change.lock().clone();
        if let Some(change) = change {
            change.notify();
        }
    }

    /// The guest has all its memory again, and says nothing of it.
    pub(super) fn reset(&self) {
        let mut visible = self.visible.lock();
        (visible.actual, visible.poison) = (0, 0);
        drop(visible);
        *self.report.lock() = None;
    }

    /// Goes to what was saved.
    pub(super) fn set_visible(&self, visible: Visible) {
        *self.visible.lock() = visible;
    }

    pub(super) fn report(&self) -> Option<BalloonReport> {
        let (since, stats) = (*self.report.lock())?;
        Some(BalloonReport {
            age: since.elapsed(),
            stats,
        })
    }

    pub(super) fn set_report(&self, stats: BalloonStats) {
        *self.report.lock() = Some((Instant::now(), stats));
    }

    pub(super) fn interval(&self) -> Option<Duration> {
        *self.interval.lock()
    }

    pub(super) fn set_interval(&self, interval: Option<Duration>) {
        *self.interval.lock() = interval;
        self.wake.notify();
    }

    pub(super) fn ask(&self) {
        // Ordering: the engine takes it after the event.
        self.is_asked.store(true, Ordering::Release);
        self.wake.notify();
    }

    /// Whether statistics were asked for since the last call.
    pub(super) fn take_asked(&self) -> bool {
        // Ordering: `ask`.
        self.is_asked.swap(false, Ordering::Acquire)
    }

    pub(super) fn wake(&self) -> &EventFd {
        &self.wake
    }

    pub(super) fn counters(&self) -> BalloonCounters {
        *self.counters.lock()
    }

    pub(super) fn count(&self, add: impl FnOnce(&mut BalloonCounters)) {
        add(&mut self.counters.lock());
    }
}
