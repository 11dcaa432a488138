//! The paravirtual devices of virtio 1.2, one folder each.
//!
//! Each implements [`Device`](vmmkit_virtio::Device) over a back end of the host's, and knows neither
//! its transport nor the hypervisor. Start with [`Rng`], the smallest. Each is a feature of the crate, and so
//! are images of qcow2 as disks; all of them are on by default.
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

#[cfg(feature = "balloon")]
mod balloon;
#[cfg(feature = "blk")]
mod blk;
#[cfg(feature = "console")]
mod console;
#[cfg(feature = "fs")]
mod fs;
#[cfg(feature = "mem")]
mod mem;
#[cfg(feature = "net")]
mod net;
#[cfg(feature = "pmem")]
mod pmem;
#[cfg(any(feature = "blk", feature = "net", feature = "rng"))]
mod rate_limiter;
#[cfg(feature = "rng")]
mod rng;
#[cfg(feature = "vhost-user")]
mod vhost_user;
#[cfg(feature = "vsock")]
mod vsock;

#[cfg(feature = "balloon")]
pub use balloon::{
    Balloon, BalloonConfig, BalloonCounters, BalloonPages, BalloonReport, BalloonStats, PageRun,
};
#[cfg(feature = "images")]
pub use blk::ImageDisk;
#[cfg(feature = "blk")]
pub use blk::{
    Block, BlockBackend, BlockConfig, BlockError, BlockLimits, BlockRequest, BlockStats,
    BlockStatus, Disk, DiskFormat, ForeignFormat, MemoryDisk, OverlayDisk, RawDisk, ResizeError,
    SwapError, SwappableDisk, Topology, parse_block_request,
};
#[cfg(feature = "qcow2")]
pub use blk::{Damage, Qcow2Disk, Qcow2Error};
#[cfg(feature = "console")]
pub use console::{
    Console, ConsoleCounters, ConsoleError, ConsoleMessage, PendingMessage, Port, PortControl,
};
#[cfg(feature = "fs")]
pub use fs::{Fs, FsError};
#[cfg(feature = "mem")]
pub use mem::{
    Mem, MemAnswer, MemArea, MemBlocks, MemCounters, MemError, MemRequest, MemState, Released,
};
#[cfg(feature = "net")]
pub use net::{
    ControlCommand, MAX_QUEUE_PAIRS, Net, NetAttachment, NetBackend, NetConfig, NetError, NetFlow,
    NetOptions, NetStats, PacketHeader,
};
#[cfg(feature = "pmem")]
pub use pmem::{Pmem, PmemConfig, PmemCounters, PmemError, PmemRequest};
#[cfg(any(feature = "blk", feature = "net", feature = "rng"))]
pub use rate_limiter::{Bucket, RateLimit, RateLimiter, Throttle};
#[cfg(feature = "rng")]
pub use rng::Rng;
#[cfg(feature = "vhost-user")]
pub use vhost_user::{VhostUser, VhostUserDevice, VhostUserError};
#[cfg(feature = "vsock")]
pub use vsock::{
    Vsock, VsockConfig, VsockConnectError, VsockError, VsockHeader, VsockLimits, VsockStats,
    connect_vsock, parse_connect,
};
