//! `--disk`.

use std::path::Path;
use std::sync::Arc;

use vmmkit_machine_spec::{DiskBackend, DiskFormat, DiskSpec, OwnDisk};
use vmmkit_virtio_devices::{
    Block, BlockBackend, BlockConfig, BlockError, ForeignFormat, VhostUser,
};

use super::{Plan, disk_failure, failed, rate};
use crate::failure::Failure;
use crate::messages;

pub(super) fn plug(spec: &DiskSpec, text: &str, plan: Plan) -> Result<Plan, Failure> {
    match spec {
        DiskSpec::Own(disk) => {
            let mut config = config(disk);
            let disk = open(&mut config, text)
                .map_err(|error| disk_failure::explain(text, &config, &error))?;
            let text = text.to_owned();
            disk.on_error(move |error| messages::say(&format!("--disk {text}: {error}")));
            Ok(plan.with(Arc::new(disk)))
        }
        DiskSpec::VhostUser(socket) => {
            let disk = VhostUser::blk(socket)
                .map_err(|error| failed("--disk", text, &error, &back_end(socket)))?;
            Ok(plan.with(Arc::new(disk)))
        }
    }
}

/// Opens the disk; an image of a CD for reading only, as the drive of a CD is.
fn open(config: &mut BlockConfig, text: &str) -> Result<Block, BlockError> {
    match Block::open(config) {
        Err(BlockError::Foreign {
            format: ForeignFormat::Iso,
            ..
        }) => {
            config.read_only = true;
            let disk = Block::open(config)?;
            messages::say(&format!(
                "--disk {text}: this is a CD image (ISO 9660): the guest can read it, and not write it"
            ));
            Ok(disk)
        }
        other => other,
    }
}

fn back_end(socket: &Path) -> String {
    format!(
        "start the back end first, such as `qemu-storage-daemon --blockdev \
         driver=file,node-name=disk,filename=FILE --export \
         type=vhost-user-blk,id=disk,node-name=disk,writable=on,addr.type=unix,addr.path={}`",
        socket.display()
    )
}

fn config(disk: &OwnDisk) -> BlockConfig {
    BlockConfig {
        path: disk.path.clone(),
        read_only: disk.read_only,
        direct: disk.direct,
        block_size: disk.block_size,
        serial: disk.serial.clone(),
        queues: disk.queues,
        format: disk.format.map(|format| match format {
            DiskFormat::Raw => vmmkit_virtio_devices::DiskFormat::Raw,
            DiskFormat::Qcow2 => vmmkit_virtio_devices::DiskFormat::Qcow2,
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
