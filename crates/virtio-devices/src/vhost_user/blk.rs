//! The block device (virtio 1.2, section 5.2).

use std::path::Path;

use vmmkit_virtio::DeviceKind;

use super::back_end::BackEnd;
use super::config::Config;
use super::spec::blk::{CONFIG_BYTES, F_MQ, FEATURES, NUM_QUEUES, WRITEBACK};
use super::{MAX_QUEUES, VhostUser, VhostUserError};

/// Entries of each queue.
const QUEUE_SIZE: u16 = 256;

impl VhostUser {
    /// A disk that a process serves at `socket`, such as qemu-storage-daemon or SPDK: with its size,
    /// its features and its queues, up to 64.
    ///
    /// # Errors
    /// [`VhostUserError`] names the socket, and the next step.
    pub fn blk(socket: &Path) -> Result<Self, VhostUserError> {
        let kind = DeviceKind::BLOCK;
        let back_end = BackEnd::connect(socket, kind)?;
        if !back_end.has_config() {
            return Err(back_end.lacks("VHOST_USER_PROTOCOL_F_CONFIG", kind));
        }
        let queues = queue_count(&back_end)?;
        let fixed = Some((NUM_QUEUES, queues.to_le_bytes()));
        let config = Config::of(&back_end, CONFIG_BYTES, fixed, WRITEBACK..WRITEBACK + 1)?;
        let sizes = vec![QUEUE_SIZE; usize::from(queues)];
        Self::new(kind, back_end, FEATURES, sizes, config)
    }
}

/// The queues of the device: as many as its configuration says, if it says so.
fn queue_count(back_end: &BackEnd) -> Result<u16, VhostUserError> {
    if back_end.features() & F_MQ == 0 {
        return Ok(1);
    }
    let bytes = back_end.config(CONFIG_BYTES)?;
    let field = bytes.get(NUM_QUEUES..NUM_QUEUES + 2);
    let count = field.and_then(|field| field.try_into().ok());
    let count = u16::from_le_bytes(count.unwrap_or_default());
    Ok(count.clamp(1, MAX_QUEUES))
}
