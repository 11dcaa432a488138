//! A device that this crate knows nothing of.

use std::path::Path;

use vmmkit_virtio::DeviceKind;
use vmmkit_virtio::spec::feature;

use super::back_end::BackEnd;
use super::config::Config;
use super::{MAX_QUEUES, VhostUser, VhostUserError};

/// Bytes of the largest configuration space that a back end can have (vhost-user,
/// `VHOST_USER_MAX_CONFIG_SIZE`).
const MAX_CONFIG: usize = 256;

/// A device of any kind, as [`VhostUser::device`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VhostUserDevice {
    kind: DeviceKind,
    features: u64,
    queue_sizes: Vec<u16>,
    config_bytes: usize,
}

impl VhostUserDevice {
    /// A device of `kind` with no feature of its own, no configuration space and a queue of each of
    /// `queue_sizes`: at most 64, each a power of 2 up to 32768.
    pub fn new(kind: DeviceKind, queue_sizes: &[u16]) -> Self {
        Self {
            kind,
            features: 0,
            queue_sizes: queue_sizes.to_vec(),
            config_bytes: 0,
        }
    }

    /// Offers those of `features` that the back end has too: bits 0 to 23 and 50 to 63 (virtio 1.2,
    /// section 2.2). Others belong to queues and transport, and are ignored.
    #[must_use]
    pub fn with_features(self, features: u64) -> Self {
        Self { features, ..self }
    }

    /// Gives it the first `bytes` bytes of the back end's configuration space, at most 256. The driver
    /// may write all that the back end lets it.
    #[must_use]
    pub fn with_config(self, bytes: usize) -> Self {
        Self {
            config_bytes: bytes,
            ..self
        }
    }
}

impl VhostUser {
    /// A device of any kind that a process serves at `socket`: sound, GPU, SCSI, or one of one's own.
    ///
    /// # Errors
    /// [`VhostUserError`] names the socket; [`VhostUserError::Limit`] where `device` goes beyond what a
    /// back end can serve.
    pub fn device(socket: &Path, device: VhostUserDevice) -> Result<Self, VhostUserError> {
        let kind = device.kind;
        let limit = |part, value, max| Err(VhostUserError::Limit { part, value, max });
        let queues = device.queue_sizes.len();
        if queues > usize::from(MAX_QUEUES) {
            return limit("queues", queues, usize::from(MAX_QUEUES));
        }
        if device.config_bytes > MAX_CONFIG {
            return limit("bytes of configuration", device.config_bytes, MAX_CONFIG);
        }
        let back_end = BackEnd::connect(socket, kind)?;
        let config = match device.config_bytes {
            0 => Config::constant(Vec::new()),
            _ if !back_end.has_config() => {
                return Err(back_end.lacks("VHOST_USER_PROTOCOL_F_CONFIG", kind));
            }
            length => Config::of(&back_end, length, None, 0..length)?,
        };
        let features = device.features & feature::DEVICE;
        Self::new(kind, back_end, features, device.queue_sizes, config)
    }
}
