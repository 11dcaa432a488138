//! The paravirtual devices of virtio 1.2, one folder each.
//!
//! Each implements [`Device`](vmmkit_virtio::Device) over a back end of the host's, and knows neither
//! its transport nor the hypervisor. Start with [`Rng`], the smallest.
//!
//! ```
//! use std::sync::Arc;
//! use vmmkit_virtio::fake::Driver;
//! use vmmkit_virtio_devices::Rng;
//!
//! let mut driver = Driver::start(Arc::new(Rng::new()))?;
//! assert_eq!(driver.request(0, &[], &[32])?.len(), 32);
//! # Ok::<(), vmmkit_virtio::fake::DriverError>(())
//! ```
#![forbid(unsafe_code)]

mod balloon;
mod blk;
mod console;
mod mem;
mod net;
mod pmem;
mod rate_limiter;
mod rng;
mod vhost_user;
mod vsock;

pub use balloon::{
    Balloon, BalloonConfig, BalloonCounters, BalloonPages, BalloonReport, BalloonStats, PageRun,
};
pub use blk::{
    Block, BlockBackend, BlockConfig, BlockError, BlockLimits, BlockRequest, BlockStats,
    BlockStatus, Damage, Disk, DiskFormat, ForeignFormat, MemoryDisk, Qcow2Disk, Qcow2Error,
    RawDisk, ResizeError, Topology, parse_block_request,
};
pub use console::{
    Console, ConsoleCounters, ConsoleError, ConsoleMessage, PendingMessage, Port, PortControl,
};
pub use mem::{
    Mem, MemAnswer, MemArea, MemBlocks, MemCounters, MemError, MemRequest, MemState, Released,
};
pub use net::{
    ControlCommand, MAX_QUEUE_PAIRS, Net, NetAttachment, NetBackend, NetConfig, NetError, NetFlow,
    NetOptions, NetStats, PacketHeader,
};
pub use pmem::{Pmem, PmemConfig, PmemCounters, PmemError, PmemRequest};
pub use rate_limiter::{Bucket, RateLimit, RateLimiter, Throttle};
pub use rng::Rng;
pub use vhost_user::{VhostUser, VhostUserDevice, VhostUserError};
pub use vsock::{
    Vsock, VsockConfig, VsockError, VsockHeader, VsockLimits, VsockStats, parse_connect,
};
