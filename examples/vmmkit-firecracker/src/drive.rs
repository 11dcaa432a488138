//! The drives of a machine: images that give their place to others while the guest runs.

use std::sync::Arc;

use parking_lot::Mutex;
use vmmkit_firecracker::body::{Drive, IoEngine};
use vmmkit_firecracker::spec::limits;
use vmmkit_virtio::Device;
use vmmkit_virtio_devices::{
    Block, BlockBackend, BlockConfig, BlockError, DiskFormat, RawDisk, SwappableDisk, VhostUser,
};

use vmmkit_firecracker::chain;

/// An open drive.
pub(crate) struct Opened {
    /// Its name.
    pub(crate) name: String,
    /// The device.
    pub(crate) device: Arc<dyn Device>,
    /// The same, where this process serves it.
    pub(crate) block: Option<Arc<Block>>,
    /// Its image, where that can change, and the path of it.
    image: Option<(Arc<SwappableDisk>, Mutex<String>)>,
    is_read_only: bool,
}

/// Opens `drive`.
pub(crate) fn open(drive: &Drive) -> Result<Opened, String> {
    let failed =
        |error: &dyn std::error::Error| format!("The drive {}: {}", drive.drive_id, chain(error));
    let is_read_only = drive.is_read_only.unwrap_or(false);
    let opened = |device, block, image| Opened {
        name: drive.drive_id.clone(),
        device,
        block,
        image,
        is_read_only,
    };
    if let Some(socket) = &drive.socket {
        let device = VhostUser::blk(socket.as_ref()).map_err(|error| failed(&error))?;
        return Ok(opened(Arc::new(device), None, None));
    }
    let path = drive.path_on_host.clone().unwrap_or_default();
    let (block, image) = match drive.io_engine {
        Some(IoEngine::Async) => {
            let config = config(&path, is_read_only, BlockBackend::Uring);
            (Block::open(&config), None)
        }
        _ => {
            let config = config(&path, is_read_only, BlockBackend::Sync);
            let disk = RawDisk::open(&config).map_err(|error| failed(&error))?;
            let disk = Arc::new(SwappableDisk::new(Arc::new(disk)));
            let block = Block::with_disk(disk.clone(), &config);
            (block, Some((disk, Mutex::new(path))))
        }
    };
    let block = Arc::new(block.map_err(|error| failed(&error))?);
    if let Some(limiter) = drive.rate_limiter {
        block.rate_limiter().set(limits(limiter));
    }
    Ok(opened(block.clone(), Some(block), image))
}

fn config(path: &str, read_only: bool, backend: BlockBackend) -> BlockConfig {
    BlockConfig {
        path: path.into(),
        read_only,
        // A file is the bytes of the disk, whatever they look like.
        format: Some(DiskFormat::Raw),
        backend,
        ..BlockConfig::default()
    }
}

impl Opened {
    /// Has the image at `path` take the place of the one there is. Its own image, whose lock it has, is looked at again.
    pub(crate) fn change(&self, path: &str) -> Result<(), String> {
        let (Some((disk, now)), Some(block)) = (&self.image, &self.block) else {
            return Err("The image of this drive cannot change.".to_owned());
        };
        let mut now = now.lock();
        let config = config(path, self.is_read_only, BlockBackend::Sync);
        match RawDisk::open(&config) {
            Ok(image) => {
                let before = disk.swap(Arc::new(image)).map_err(|error| chain(&error))?;
                if let Err(error) = block.resized() {
                    // It goes back: the guest never saw the other.
                    let _ = disk.swap(before);
                    return Err(chain(&error));
                }
                *now = path.to_owned();
            }
            Err(BlockError::Locked { .. }) if *now == path => {
                block.resized().map_err(|error| chain(&error))?;
            }
            Err(error) => return Err(chain(&error)),
        }
        Ok(())
    }
}
