//! The file system device (virtio 1.2, section 5.11).

use std::path::Path;

use vmmkit_virtio::DeviceKind;

use super::back_end::BackEnd;
use super::config::Config;
use super::spec::fs::{OTHER_QUEUES, TAG_BYTES};
use super::{VhostUser, VhostUserError, spec};

/// Entries of each queue. A request has a few buffers beside its pages, which Linux puts into an
/// indirect table where there may be one.
const QUEUE_SIZE: u16 = 128;

impl VhostUser {
    /// A folder that virtiofsd shares at `socket`, and that the guest mounts by `tag`; with one
    /// queue of requests, as every virtiofsd has.
    ///
    /// A snapshot holds nothing of what virtiofsd knows: with another one, what the guest had open
    /// gives errors until it is mounted again.
    ///
    /// # Errors
    /// [`VhostUserError`] names the socket, and the next step.
    pub fn fs(socket: &Path, tag: &str) -> Result<Self, VhostUserError> {
        Self::fs_with_queues(socket, tag, 1)
    }

    /// As [`fs`](Self::fs), with `requests` queues of requests: 1 to 64.
    ///
    /// # Errors
    /// [`VhostUserError`]: also [`Queues`](VhostUserError::Queues) where the back end says that it
    /// has fewer.
    pub fn fs_with_queues(socket: &Path, tag: &str, requests: u16) -> Result<Self, VhostUserError> {
        let requests = requests.clamp(1, super::MAX_QUEUES);
        let config = Config::constant(config(tag, requests)?);
        let kind = DeviceKind::FILE_SYSTEM;
        let back_end = BackEnd::connect(socket, kind)?;
        let sizes = vec![QUEUE_SIZE; usize::from(OTHER_QUEUES + requests)];
        Self::new(kind, back_end, spec::fs::FEATURES, sizes, config)
    }
}

/// The configuration (5.11.4): the tag and the number of request queues.
fn config(tag: &str, requests: u16) -> Result<Vec<u8>, VhostUserError> {
    if tag.is_empty() || tag.len() > TAG_BYTES {
        return Err(VhostUserError::Tag {
            tag: tag.into(),
            length: tag.len(),
        });
    }
    let mut bytes = tag.as_bytes().to_vec();
    bytes.resize(TAG_BYTES, 0);
    bytes.extend(u32::from(requests).to_le_bytes());
    Ok(bytes)
}
