//! Shared folders.

use std::sync::Arc;

use vmmkit_machine_spec::FsSpec;
use vmmkit_virtio::Device;
use vmmkit_virtio_devices::VhostUser;

use crate::Reason;

pub(super) fn open(spec: &FsSpec) -> Result<Arc<dyn Device>, Reason> {
    let FsSpec {
        socket,
        tag,
        queues,
    } = spec;
    if socket.is_dir() {
        let folder = socket.clone();
        return Err(Reason::Folder { folder });
    }
    Ok(Arc::new(VhostUser::fs_with_queues(socket, tag, *queues)?))
}
