//! `--disk`.

use std::path::Path;
use std::sync::Arc;

use vmmkit_machine_spec::{DiskBackend, DiskFormat, DiskSpec, OwnDisk};
use vmmkit_virtio_devices::{Block, BlockBackend, BlockConfig, VhostUser};

use super::{Plan, disk_failure, failed, rate};
use crate::failure::Failure;
use crate::messages;

pub(super) fn plug(spec: &DiskSpec, text: &str, plan: Plan) -> Result<Plan, Failure> {
    match spec {
        DiskSpec::Own(disk) => {
            let config = config(disk);
            let disk = Block::open(&config)
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
