//! The socket device (section 5.10): stream connections between the guest's AF_VSOCK sockets and
//! UNIX sockets of the host.
//!
//! The host's side has the form that Firecracker gave it. A host program connects to the device's
//! socket, says `CONNECT <port>\n`, and is told `OK <host port>\n` when the guest has accepted; what
//! follows is the stream. A guest that connects to port P of CID 2 is connected to the host program
//! that listens on `<socket>_P`.
//!
//! | file | subject |
//! | --- | --- |
//! | packet.rs, credit.rs, link.rs | the protocol: bytes and numbers only |
//! | greeting.rs, host.rs | the UNIX sockets |
//! | connection.rs, table.rs | a link with a socket, and all of them |
//! | engine/ | the thread that moves packets |

mod connection;
mod credit;
mod engine;
mod greeting;
mod host;
mod link;
mod packet;
mod program;
mod spec;
mod state;
mod stats;
mod table;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;
use vmmkit_device_bus::SaveState;
use vmmkit_host_io::{ListenError, descriptor_limit};
use vmmkit_telemetry::Tree;
use vmmkit_virtio::{ActivateError, Activation, Active, Device, DeviceKind};

use engine::{Bounds, Times, VsockEngine};
use host::{HostSocket, MAX_PATH};
use spec::{F_STREAM, MAX_GUEST_CID, MIN_GUEST_CID, RX, TX};
use stats::Counters;
use table::MAX;

pub use greeting::parse_connect;
pub use packet::VsockHeader;
pub use program::{VsockConnectError, connect_vsock};
pub use stats::VsockStats;

/// Configuration of a socket device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VsockConfig {
    /// The guest's CID: 3 to 0xffff_fffe.
    pub cid: u64,
    /// The socket that host programs connect to, at most 96 bytes. It is for the user alone (mode
    /// 0600).
    pub socket: PathBuf,
}

/// How much of the host the connections of a socket device may take: a guest that opens more is
/// answered by RST, and a host program that connects is closed. Both count as
/// [`refused`](VsockStats::refused), and as [`out_of_room`](VsockStats::out_of_room).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VsockLimits {
    /// Connections at the same time, of whatever kind: 1 to 1023. Each takes a descriptor, and up to
    /// 256 KiB for data that the host has not taken.
    pub connections: usize,
    /// Of these, host programs that have not said where to. Each has 5 seconds for that.
    pub silent: usize,
    /// Descriptors below the soft RLIMIT_NOFILE that are left to the rest of the process.
    pub reserved_descriptors: u64,
}

impl Default for VsockLimits {
    /// 1023 connections, 128 of them silent; 128 descriptors are left to others, but a quarter of a
    /// RLIMIT_NOFILE below 512.
    fn default() -> Self {
        Self {
            connections: MAX,
            silent: 128,
            reserved_descriptors: descriptor_limit().map_or(128, |limit| (limit / 4).min(128)),
        }
    }
}

/// Why there can be no socket device.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VsockError {
    /// The CID is reserved.
    #[error("cid {0} is reserved: take one from {MIN_GUEST_CID} to {MAX_GUEST_CID}")]
    Cid(u64),
    /// The path would be too long for a socket with `_<port>` behind it.
    #[error("socket {} is longer than {MAX_PATH} bytes: take a shorter path", .0.display())]
    PathTooLong(PathBuf),
    /// Another program listens there.
    #[error("socket {} is in use: another program listens on it; take another path, or end that program", .0.display())]
    InUse(PathBuf),
    /// There is a file, which is not a socket.
    #[error("socket {} is a file that is not a socket: remove it, or take another path", .0.display())]
    NotASocket(PathBuf),
    /// The host refused something.
    #[error("cannot listen on socket {}", .path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Its reason.
        #[source]
        source: ListenError,
    },
}

impl VsockError {
    /// The error of the socket at `path`.
    fn at(path: &Path, error: ListenError) -> Self {
        let path = path.to_owned();
        match error {
            ListenError::InUse => Self::InUse(path),
            ListenError::NotASocket => Self::NotASocket(path),
            source => Self::Socket { path, source },
        }
    }
}

/// A socket device. It listens from the time it is made until it is dropped; host programs that
/// come before the guest's driver wait for it.
///
/// The process must ignore SIGPIPE, as Rust's runtime makes it.
///
/// ```
/// use std::io::Write;
/// use std::os::unix::net::UnixStream;
/// use std::sync::Arc;
/// use vmmkit_virtio::fake::Driver;
/// use vmmkit_virtio_devices::{Vsock, VsockConfig, VsockHeader};
///
/// let socket = std::env::temp_dir().join(format!("vsock-{}", std::process::id()));
/// let vsock = Vsock::new(VsockConfig { cid: 3, socket: socket.clone() })?;
/// let mut driver = Driver::start(Arc::new(vsock))?;
///
/// let mut program = UnixStream::connect(&socket)?;
/// program.write_all(b"CONNECT 52\n")?;
/// // The guest sees a request for its port 52.
/// let packet = driver.request(0, &[], &[4096])?;
/// assert_eq!(VsockHeader::parse(&packet).map(|header| header.dst_port), Some(52));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Vsock {
    // Fixed at creation
    cid: u64,
    limits: VsockLimits,
    times: Times,
    // Wiring
    host: Arc<HostSocket>,
    counters: Arc<Counters>,
    // What the guest can see
    /// It must be told that its connections are gone.
    is_transport_reset: Arc<AtomicBool>,
}

impl VsockConfig {
    /// Whether there could be such a device, as far as that can be told without making its socket.
    ///
    /// # Errors
    /// As for [`Vsock::new`].
    pub fn check(&self) -> Result<(), VsockError> {
        self.check_cid()?;
        HostSocket::check(&self.socket)
    }

    fn check_cid(&self) -> Result<(), VsockError> {
        match (MIN_GUEST_CID..=MAX_GUEST_CID).contains(&self.cid) {
            true => Ok(()),
            false => Err(VsockError::Cid(self.cid)),
        }
    }
}

impl Vsock {
    /// A device whose socket is there. A socket file on which nobody listens is replaced.
    ///
    /// # Errors
    /// [`VsockError`]: a CID that may not be, or a socket that cannot.
    pub fn new(config: VsockConfig) -> Result<Self, VsockError> {
        config.check_cid()?;
        Ok(Self {
            cid: config.cid,
            limits: VsockLimits::default(),
            times: Times::default(),
            host: Arc::new(HostSocket::listen(&config.socket)?),
            counters: Arc::default(),
            is_transport_reset: Arc::default(),
        })
    }

    /// With other limits; 1023 connections are the maximum.
    #[must_use]
    pub fn limited(mut self, limits: VsockLimits) -> Self {
        self.limits = VsockLimits {
            connections: limits.connections.clamp(1, MAX),
            ..limits
        };
        self
    }

    /// The guest's CID.
    pub fn cid(&self) -> u64 {
        self.cid
    }

    /// The counts so far.
    pub fn stats(&self) -> VsockStats {
        self.counters.look()
    }
}

impl Device for Vsock {
    fn kind(&self) -> DeviceKind {
        DeviceKind::SOCKET
    }

    fn features(&self) -> u64 {
        F_STREAM
    }

    fn queue_sizes(&self) -> &[u16] {
        &[256, 256, 16]
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        // guest_cid (5.10.4).
        let config = self.cid.to_le_bytes();
        for (byte, value) in bytes.iter_mut().zip(config.iter().skip(offset)) {
            *byte = *value;
        }
    }

    fn inspect(&self) -> Tree {
        self.stats().add_to(Tree::new().number("cid", self.cid))
    }

    fn activate(&self, mut activation: Activation) -> Result<Box<dyn Active>, ActivateError> {
        for index in [RX, TX] {
            if activation.queues.get_mut(index).is_none() {
                return Err(ActivateError::MissingQueue(index));
            }
        }
        let engine = VsockEngine::new(
            self.cid,
            Bounds {
                room: self.limits,
                times: self.times,
            },
            self.host.clone(),
            self.counters.clone(),
            self.is_transport_reset.clone(),
        )
        .map_err(|source| ActivateError::Host {
            what: "making a timer",
            source,
        })?;
        activation.on_one_thread(Box::new(engine))
    }

    fn reset(&self) {
        self.is_transport_reset.store(false, Ordering::Relaxed);
    }

    fn close(&self) {
        self.host.remove();
    }

    fn state(&self) -> Option<&dyn SaveState> {
        Some(self)
    }
}
