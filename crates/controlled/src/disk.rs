//! The size of a disk, as the control API has it.

use thiserror::Error;
use vmmkit_control::Refusal;
use vmmkit_telemetry::error_line;
use vmmkit_virtio::DeviceKind;
use vmmkit_virtio_devices::{Block, ResizeError};

use crate::device::LiveDevice;

/// A disk whose size is another process's to change.
#[derive(Debug, Error)]
#[error("{name} is a disk of a vhost-user back end, which tells the guest its size itself")]
struct OfBackEnd {
    name: String,
}

/// The disk that the device `live`, called `name`, is.
pub(super) fn of<'a>(live: Option<&'a LiveDevice>, name: &str) -> Result<&'a Block, Refusal> {
    match live {
        Some(LiveDevice::Block(disk)) => Ok(disk),
        Some(LiveDevice::Other(device)) if device.kind() == DeviceKind::BLOCK => {
            let name = name.to_owned();
            Err(Refusal::unsupported(OfBackEnd { name }))
        }
        _ => Err(Refusal::NoSize(name.to_owned())),
    }
}

/// Makes it larger, or looks at it again.
pub(super) fn resize(disk: &Block, size_bytes: Option<u64>) -> Result<u64, Refusal> {
    disk.resize(size_bytes).map_err(|error| match error {
        ResizeError::Smaller { .. } | ResizeError::Fraction { .. } | ResizeError::Host { .. } => {
            Refusal::Field {
                field: "size_bytes",
                reason: error_line(&error),
            }
        }
        error => Refusal::unsupported(error),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vmmkit_virtio_devices::{BlockConfig, MemoryDisk, Rng};

    use super::*;

    #[test]
    fn a_disk_grows_and_other_devices_have_no_size() {
        let disk = Arc::new(MemoryDisk::new(4096));
        let block = Block::with_disk(disk, &BlockConfig::default()).unwrap();
        let live = LiveDevice::Block(Arc::new(block));
        let block = of(Some(&live), "blk0").unwrap();
        assert_eq!(resize(block, None).unwrap(), 4096);
        assert_eq!(resize(block, Some(8192)).unwrap(), 8192);
        for wrong in [4096, 8193] {
            let refusal = resize(block, Some(wrong)).unwrap_err();
            assert!(matches!(refusal, Refusal::Field { .. }), "{refusal}");
        }
        let read_only = Arc::new(MemoryDisk::new(4096).read_only());
        let read_only = Block::with_disk(read_only, &BlockConfig::default()).unwrap();
        let refusal = resize(&read_only, Some(8192)).unwrap_err();
        assert!(matches!(refusal, Refusal::Unsupported(_)), "{refusal}");
        let rng = LiveDevice::Other(Arc::new(Rng::new()));
        for other in [Some(&rng), None] {
            let refusal = of(other, "rng0").unwrap_err();
            assert!(matches!(refusal, Refusal::NoSize(name) if name == "rng0"));
        }
    }
}
