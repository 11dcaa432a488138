//! A machine that runs, as the API has it.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::body::RateLimiter;
use crate::resources::Resources;
use crate::snapshot::{CreateSnapshot, Origin};

/// Starts the machine of a configuration.
pub trait Launcher: Send + Sync {
    /// Builds and starts it, or has it go on from where it was saved: it is paused then, unless it runs at once.
    ///
    /// # Errors
    /// Why it cannot be, in a sentence.
    fn launch(
        &self,
        resources: &Resources,
        origin: Option<&Arc<Origin>>,
    ) -> Result<Arc<dyn Guest>, String>;

    /// Ends the process for `reason`, once its client has been answered.
    fn give_up(&self, reason: &str);
}

/// A running machine. Drives and interfaces are named by their places in [`Resources`].
pub trait Guest: Send + Sync {
    /// Has its vCPUs stand still.
    ///
    /// # Errors
    /// Why they do not.
    fn pause(&self) -> Result<(), String>;

    /// Has them run on.
    ///
    /// # Errors
    /// Why they do not.
    fn resume(&self) -> Result<(), String>;

    /// Saves the paused machine of `resources`.
    ///
    /// # Errors
    /// Why it cannot be, in a sentence.
    fn save(&self, resources: &Resources, to: &CreateSnapshot) -> Result<(), String>;

    /// Presses Ctrl-Alt-Del.
    fn ctrl_alt_del(&self);

    /// Has the image at `path` take the place of a drive's; or the same, looked at again.
    ///
    /// # Errors
    /// Why it cannot, in a sentence; the drive keeps its image.
    fn change_drive(&self, place: usize, path: &str) -> Result<(), String>;

    /// Sets the limits of a drive.
    fn limit_drive(&self, place: usize, limiter: RateLimiter);

    /// Sets the limits of an interface: to the guest, and from it.
    fn limit_network(&self, place: usize, to: Option<RateLimiter>, from: Option<RateLimiter>);

    /// Asks the guest for so much of its memory.
    fn set_balloon(&self, mebibytes: u32);

    /// The balloon, and what the guest has said about its memory.
    fn balloon(&self) -> BalloonReport;

    /// Changes how often the guest is asked about it.
    fn set_statistics_interval(&self, seconds: u16);

    /// Asks the guest to have so much memory plugged.
    fn request_memory(&self, mebibytes: u32);

    /// The MiB of memory that the guest has plugged, and that it is asked for.
    fn plugged_memory(&self) -> (u64, u64);

    /// Numbers that only grow, by group and name: the metrics of its devices.
    fn counters(&self) -> Value;
}

/// `GET /balloon/statistics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BalloonReport {
    /// Pages that the guest is asked for.
    pub target_pages: u32,
    /// Pages that it has given.
    pub actual_pages: u32,
    /// The same, in MiB.
    pub target_mib: u32,
    /// The same, in MiB.
    pub actual_mib: u32,
    /// Bytes swapped in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_in: Option<u64>,
    /// Bytes swapped out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_out: Option<u64>,
    /// Faults that waited for a disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub major_faults: Option<u64>,
    /// Faults that did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minor_faults: Option<u64>,
    /// Bytes that are used for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_memory: Option<u64>,
    /// Bytes that there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_memory: Option<u64>,
    /// Bytes that a program could have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_memory: Option<u64>,
    /// Bytes of caches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_caches: Option<u64>,
    /// Huge pages that were had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hugetlb_allocations: Option<u64>,
    /// Those that could not be had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hugetlb_failures: Option<u64>,
}
