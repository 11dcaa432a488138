//! The memory balloon (section 5.5): pages that the guest does without go back to the host.
//!
//! It has two ways. The host wants memory: [`Balloon::set_target`], and the guest gives pages until
//! the balloon is as large. Or the guest says by itself which pages are free (free page reporting),
//! and takes them again without a word.

mod engine;
mod pages;
mod shared;
mod spec;
mod state;
mod stats;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use vmmkit_device_bus::SaveState;
use vmmkit_host_io::EventFd;
use vmmkit_telemetry::Tree;
use vmmkit_virtio::{ActivateError, Activation, Active, ConfigChange, Device, DeviceKind};

use engine::BalloonEngine;
pub use pages::{BalloonPages, PageRun};
use shared::Shared;
pub use stats::{BalloonReport, BalloonStats};

/// Pages of 4 KiB in a mebibyte.
const PAGES_PER_MEBIBYTE: u32 = 256;

/// Configuration of a balloon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalloonConfig {
    /// How large it should be at first, in MiB.
    pub size_mib: u32,
    /// The guest may take pages back, without being asked, before it runs out of memory.
    pub deflate_on_oom: bool,
    /// The guest says which pages are free.
    pub free_page_reporting: bool,
    /// How often the guest is asked for [statistics](Balloon::stats); `None` for not by itself.
    pub stats_interval: Option<Duration>,
}

impl Default for BalloonConfig {
    /// Empty, with deflation and reporting, without an interval.
    fn default() -> Self {
        Self {
            size_mib: 0,
            deflate_on_oom: true,
            free_page_reporting: true,
            stats_interval: None,
        }
    }
}

/// Counts of events, since the device was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BalloonCounters {
    /// Pages of 4 KiB that were put into the balloon.
    pub inflated_pages: u64,
    /// Pages that were taken out.
    pub deflated_pages: u64,
    /// Bytes that were reported free.
    pub reported_bytes: u64,
    /// Bytes that went back to the host, by either way. What was never touched counts too.
    pub discarded_bytes: u64,
    /// Statistics that came.
    pub reports: u64,
    /// Pages that were named and are not RAM.
    pub outside_pages: u64,
    /// Pages that were named twice in one message.
    pub repeated_pages: u64,
    /// Messages of no whole number of pages, or of more than is looked at.
    pub odd_messages: u64,
}

/// A memory balloon. Its verbs may be called from any thread at any time.
///
/// Pages of a guest with prefault or huge pages are the host's only in name: they cannot go back,
/// and [`BalloonCounters::discarded_bytes`] stays 0.
pub struct Balloon {
    features: u64,
    shared: Arc<Shared>,
}

impl Balloon {
    /// A balloon.
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub fn new(config: &BalloonConfig) -> io::Result<Self> {
        let mut features = spec::F_STATS_VQ;
        if config.deflate_on_oom {
            features |= spec::F_DEFLATE_ON_OOM;
        }
        if config.free_page_reporting {
            // A guest that fills its free pages reports them only to a device that knows with what.
            features |= spec::F_PAGE_REPORTING | spec::F_PAGE_POISON;
        }
        let shared = Shared::new(EventFd::new()?);
        shared.set_target(pages_of(config.size_mib));
        shared.set_interval(config.stats_interval);
        Ok(Self {
            features,
            shared: Arc::new(shared),
        })
    }

    /// Asks the guest to make the balloon `mebibytes` large. It does as well as it can, and may take
    /// long or never be there; a size near that of its RAM is the end of its programs.
    pub fn set_target(&self, mebibytes: u32) {
        self.shared.set_target(pages_of(mebibytes));
    }

    /// The size that was asked for, in pages of 4 KiB.
    pub fn target_pages(&self) -> u32 {
        self.shared.visible().target
    }

    /// The size that the guest says the balloon has, in pages of 4 KiB.
    pub fn actual_pages(&self) -> u32 {
        self.shared.visible().actual
    }

    /// The guest's last memory statistics, if it has sent any.
    pub fn stats(&self) -> Option<BalloonReport> {
        self.shared.report()
    }

    /// Asks for new statistics now. [`stats`](Self::stats) has them when the guest has answered.
    pub fn refresh_stats(&self) {
        self.shared.ask();
    }

    /// Changes how often the guest is asked for statistics.
    pub fn set_stats_interval(&self, interval: Option<Duration>) {
        self.shared.set_interval(interval);
    }

    /// The counters.
    pub fn counters(&self) -> BalloonCounters {
        self.shared.counters()
    }
}

fn pages_of(mebibytes: u32) -> u32 {
    mebibytes.saturating_mul(PAGES_PER_MEBIBYTE)
}

impl Device for Balloon {
    fn kind(&self) -> DeviceKind {
        DeviceKind::BALLOON
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn inspect(&self) -> Tree {
        let counters = self.counters();
        let tree = Tree::new()
            .gauge("target_pages", self.target_pages())
            .gauge("actual_pages", self.actual_pages())
            .counter("inflated_pages", counters.inflated_pages)
            .counter("deflated_pages", counters.deflated_pages)
            .counter("reported_bytes", counters.reported_bytes)
            .counter("discarded_bytes", counters.discarded_bytes)
            .counter("reports", counters.reports)
            .counter("outside_pages", counters.outside_pages)
            .counter("repeated_pages", counters.repeated_pages)
            .counter("odd_messages", counters.odd_messages);
        match self.stats() {
            Some(report) => tree.tree("guest", report.tree()),
            None => tree,
        }
    }

    fn queue_sizes(&self) -> &[u16] {
        &[128; spec::QUEUES]
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        let config = self.shared.visible().config();
        for (byte, value) in bytes.iter_mut().zip(config.iter().skip(offset)) {
            *byte = *value;
        }
    }

    fn write_config(&self, offset: usize, bytes: &[u8]) {
        self.shared.write_config(offset, bytes);
    }

    fn connect(&self, change: ConfigChange) {
        self.shared.connect(change);
    }

    fn activate(&self, activation: Activation) -> Result<Box<dyn Active>, ActivateError> {
        let engine = BalloonEngine::new(self.shared.clone(), activation.features);
        let engine = engine.map_err(|source| ActivateError::Host {
            what: "making a timer",
            source,
        })?;
        activation.on_shared_thread(Box::new(engine))
    }

    fn reset(&self) {
        self.shared.reset();
    }

    fn state(&self) -> Option<&dyn SaveState> {
        Some(self)
    }
}

impl fmt::Debug for Balloon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balloon")
            .field("target_pages", &self.target_pages())
            .field("actual_pages", &self.actual_pages())
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
