//! Reports of a machine: counters, metrics, trees of state, and the timeline of a boot.
//!
//! All of it is data: this crate opens nothing, starts no thread and installs no recorder. A part of a machine counts with [`Counter`], answers [`Inspect`] with a
//! [`Tree`], and its owner puts what it wants to publish into [`Metrics`].
//!
//! The counters are plain numbers and not those of a facade such as the `metrics` crate: there, each
//! increment goes through a global recorder, an indirect call and a locked instruction, which is a
//! tenth of an exit. Here it is one instruction of the thread that owns the counter, so that nothing
//! need be switched on. Who has a recorder feeds it from [`Metrics`], as often as it is read:
//! `Metrics::record`, with the feature `metrics-facade`. The default features are `json`, for trees, metrics and timelines as
//! JSON, and `tracing`, for milestones as events.
//!
//! Events go to the `tracing` facade, in every crate, as fields and never from a path that an exit or a
//! request takes; without a subscriber each is one load. What a guest or a client can repeat is thinned
//! by [`Occasions`]. The levels:
//!
//! | level | what it says |
//! | --- | --- |
//! | error | the run is over, as host, hypervisor or VMM could not go on |
//! | warn | somebody should look: the guest crashed, a device needs a reset, the host failed a request |
//! | info | what becomes of the machine: kernel loaded, started, paused, resumed, reset, ended |
//! | debug | what becomes of its parts: milestones, threads, drivers, signals, requests of the API |
//!
//! ```
//! use vmmkit_telemetry::{Counter, Metrics, Tree};
//!
//! let reads = Counter::new();
//! reads.increment();
//!
//! let state = Tree::new().hex("status", 0xf_u64).counter("reads", reads.value());
//! assert_eq!(state.to_string(), "status  0xf\nreads   1\n");
//!
//! let mut metrics = Metrics::new();
//! metrics.counter("blk_reads_total", "Reads that were done", &[("device", "blk0")], 1);
//! let text = metrics.published("my_vmm", &[("name", "web")]).to_prometheus();
//! assert!(text.contains("my_vmm_blk_reads_total{name=\"web\",device=\"blk0\"} 1\n"));
//! ```
#![forbid(unsafe_code)]

mod boot_log;
mod counter;
mod error_line;
#[cfg(feature = "metrics-facade")]
mod facade;
mod last_words;
mod metrics;
mod milestones;
mod occasions;
mod prometheus;
mod timeline;
mod tree;

pub use boot_log::{BootLog, ConsoleLine};
pub use counter::Counter;
pub use error_line::error_line;
pub use last_words::ConsolePanic;
pub use metrics::{Family, Kind, Labels, Metrics, Sample};
pub use milestones::{Milestone, Milestones};
pub use occasions::Occasions;
pub use timeline::{Bins, Mark, Timeline};
pub use tree::{Inspect, Node, Tree};
