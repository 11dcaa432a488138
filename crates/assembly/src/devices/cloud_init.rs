//! First-boot data for cloud-init: a disk of its NoCloud data source, made in memory.

mod files;
mod volume;

use std::sync::Arc;

use vmmkit_machine_spec::CloudInitSpec;
use vmmkit_virtio::Device;
use vmmkit_virtio_devices::{Block, BlockConfig, MemoryDisk};

use crate::Reason;

/// The name of the data source, by which cloud-init and people find the disk.
const NAME: &str = "cidata";

/// A read-only disk with the files that `spec` asks for, for the machine called `machine`.
pub(super) fn open(spec: &CloudInitSpec, machine: Option<&str>) -> Result<Arc<dyn Device>, Reason> {
    let files = files::of(spec, machine)?;
    let image = volume::of(&files).map_err(Reason::Volume)?;
    let config = BlockConfig {
        read_only: true,
        serial: NAME.to_owned(),
        ..BlockConfig::default()
    };
    let disk = MemoryDisk::from(image).read_only();
    Ok(Arc::new(Block::with_disk(Arc::new(disk), &config)?))
}
