//! The file system device (section 5.11): a directory of the host, which this process shares.

mod engine;
mod spec;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use thiserror::Error;
use vmmkit_fuse::{Access, Counters, Directory, Limits};
use vmmkit_telemetry::Tree;
use vmmkit_virtio::{ActivateError, Activation, Active, Device, DeviceKind};

use engine::FsEngine;
use spec::{CONFIG_SIZE, QUEUE_SIZES, TAG_BYTES};

/// Why there can be no file system device.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FsError {
    /// The tag is empty or too long.
    #[error("the tag {tag:?} has {} bytes: give it 1 to {TAG_BYTES}", tag.len())]
    Tag {
        /// The tag.
        tag: String,
    },
}

/// A directory of the host that the guest mounts by its tag (`mount -t virtiofs TAG /mnt`), served on a thread of this
/// process.
///
/// Each time that a driver starts the device a new [session](vmmkit_fuse::Session) of the directory begins. What a
/// session knows, the inodes and files that the guest has, cannot be saved: see [`unsaved`](Device::unsaved).
///
/// ```
/// use std::sync::Arc;
/// use vmmkit_fuse::{Access, Directory, Limits};
/// use vmmkit_virtio::fake::Driver;
/// use vmmkit_virtio_devices::Fs;
///
/// let directory = Directory::open(std::env::temp_dir(), Access::ReadOnly)?;
/// let mut driver = Driver::start(Arc::new(Fs::new(directory, "tmp", Limits::default())?))?;
/// // FUSE_INIT (26) of version 7.38.
/// let mut message = Vec::new();
/// message.extend([104_u32, 26, 1, 0, 0, 0, 0, 0, 0, 0, 7, 38].map(u32::to_le_bytes).as_flattened());
/// message.resize(104, 0);
/// let answer = driver.request(1, &[&message], &[16, 64])?;
/// assert_eq!(answer[16..24], [7, 0, 0, 0, 38, 0, 0, 0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Fs {
    directory: Arc<Directory>,
    limits: Limits,
    counters: Arc<Counters>,
    config: [u8; CONFIG_SIZE],
}

impl Fs {
    /// The `directory` under the name `tag`, 1 to 36 bytes. A guest takes no more of the host than `limits`.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn new(directory: Directory, tag: &str, limits: Limits) -> Result<Self, FsError> {
        if tag.is_empty() || tag.len() > TAG_BYTES {
            return Err(FsError::Tag { tag: tag.into() });
        }
        let mut config = [0; CONFIG_SIZE];
        let requests = 1_u32.to_le_bytes();
        let padding = std::iter::repeat_n(0, TAG_BYTES - tag.len());
        let fields = tag.bytes().chain(padding).chain(requests);
        for (place, byte) in config.iter_mut().zip(fields) {
            *place = byte;
        }
        Ok(Self {
            directory: directory.into(),
            limits,
            counters: Arc::default(),
            config,
        })
    }

    /// The directory.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Counts of its work, and of what is open.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl Device for Fs {
    fn kind(&self) -> DeviceKind {
        DeviceKind::FILE_SYSTEM
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        for (byte, value) in bytes.iter_mut().zip(self.config.iter().skip(offset)) {
            *byte = *value;
        }
    }

    fn activate(&self, activation: Activation) -> Result<Box<dyn Active>, ActivateError> {
        let (directory, counters) = (self.directory.clone(), self.counters.clone());
        activation.on_one_thread(Box::new(FsEngine::new(directory, self.limits, counters)))
    }

    fn unsaved(&self) -> Option<&'static str> {
        Some("the files that the guest has open are the host's")
    }

    fn inspect(&self) -> Tree {
        let counters = &self.counters;
        Tree::new()
            .text("directory", self.directory.path().display().to_string())
            .flag("writable", self.directory.access() == Access::ReadWrite)
            .counter("requests", counters.requests())
            .counter("errors", counters.errors())
            .counter("malformed", counters.malformed())
            .counter("file_read_bytes", counters.read_bytes())
            .counter("file_written_bytes", counters.written_bytes())
            .gauge("inodes", counters.inodes())
            .gauge("open_files", counters.files())
            .gauge("open_inodes", counters.descriptors())
    }
}

impl fmt::Debug for Fs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fs")
            .field("directory", &self.directory)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
