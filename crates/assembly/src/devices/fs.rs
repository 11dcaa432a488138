//! Shared folders.

use std::sync::Arc;

use vmmkit_fuse::{Access, Directory, Limits};
use vmmkit_machine_spec::{FsSpec, OwnFs, VhostUserFs};
use vmmkit_virtio::Device;
use vmmkit_virtio_devices::{Fs, VhostUser};

use crate::Reason;

pub(super) fn open(spec: &FsSpec) -> Result<Arc<dyn Device>, Reason> {
    Ok(match spec {
        FsSpec::Own(own) => Arc::new(share(own)?),
        FsSpec::VhostUser(other) => {
            let VhostUserFs {
                socket,
                tag,
                queues,
            } = other;
            Arc::new(VhostUser::fs_with_queues(socket, tag, *queues)?)
        }
    })
}

fn share(spec: &OwnFs) -> Result<Fs, Reason> {
    let access = match spec.writable {
        true => Access::ReadWrite,
        false => Access::ReadOnly,
    };
    let directory = Directory::open(&spec.directory, access)?;
    Ok(Fs::new(directory, &spec.tag, Limits::default())?)
}
