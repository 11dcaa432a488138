//! Disks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use vmmkit_machine_spec::{DiskBackend, DiskFormat, DiskSpec, Field, OwnDisk};
use vmmkit_virtio::Device;
use vmmkit_virtio_devices::{
    Block, BlockBackend, BlockConfig, BlockError, ForeignFormat, VhostUser,
};

use super::{Plan, rate};
use crate::{Notice, NoticeKind, Reason};

pub(super) fn open(spec: &DiskSpec, field: Field, plan: &Plan) -> Result<Arc<dyn Device>, Reason> {
    let disk = match spec {
        DiskSpec::Own(disk) => disk,
        DiskSpec::VhostUser(socket) => return Ok(Arc::new(VhostUser::blk(socket)?)),
    };
    let disk = own(disk, field, plan)?;
    let host = plan.host.clone();
    disk.on_error(move |error| host.report(&Notice::new(field, NoticeKind::DiskFailed(error))));
    Ok(Arc::new(disk))
}

/// Whether a PC's BIOS would start from the disk of `spec`; not where it cannot be opened, or another process
/// serves it.
pub fn is_bootable(spec: &DiskSpec) -> bool {
    let DiskSpec::Own(disk) = spec else {
        return false;
    };
    let config = BlockConfig {
        read_only: true,
        ..config(disk)
    };
    let disk = Block::open(&config);
    disk.is_ok_and(|disk| disk.is_bootable().unwrap_or(false))
}

/// Opens the disk; an image of a CD for reading only, as the drive of a CD is.
fn own(spec: &OwnDisk, field: Field, plan: &Plan) -> Result<Block, BlockError> {
    let mut config = config(spec);
    match Block::open(&config) {
        Err(BlockError::Foreign {
            format: ForeignFormat::Iso,
            ..
        }) => {
            config.read_only = true;
            let disk = Block::open(&config)?;
            plan.host.report(&Notice::new(field, NoticeKind::CdImage));
            Ok(disk)
        }
        other => other,
    }
}

/// The folder for large files that need not last (hier(7), environ(7)): of /tmp the host may have little.
fn overlay_folder() -> PathBuf {
    let large = Path::new("/var/tmp");
    match std::env::var_os("TMPDIR") {
        None if large.is_dir() => large.to_owned(),
        _ => std::env::temp_dir(),
    }
}

fn config(disk: &OwnDisk) -> BlockConfig {
    BlockConfig {
        path: disk.path.clone(),
        read_only: disk.read_only,
        overlay: disk.snapshot.then(overlay_folder),
        direct: disk.direct,
        block_size: disk.block_size,
        serial: disk.serial.clone(),
        queues: disk.queues,
        format: disk.format.map(|format| match format {
            DiskFormat::Raw => vmmkit_virtio_devices::DiskFormat::Raw,
            DiskFormat::Qcow2 => vmmkit_virtio_devices::DiskFormat::Qcow2,
            DiskFormat::Vdi => vmmkit_virtio_devices::DiskFormat::Vdi,
            DiskFormat::Vhd => vmmkit_virtio_devices::DiskFormat::Vhd,
            DiskFormat::Vmdk => vmmkit_virtio_devices::DiskFormat::Vmdk,
        }),
        backing: disk.backing,
        backend: match disk.backend {
            DiskBackend::Auto => BlockBackend::Auto,
            DiskBackend::Sync => BlockBackend::Sync,
            DiskBackend::Uring => BlockBackend::Uring,
        },
        rate: rate(disk.rate),
    }
}
