//! `--fs`.

use std::sync::Arc;

use vmmkit_machine_spec::FsSpec;
use vmmkit_virtio_devices::VhostUser;

use super::{Plan, failed};
use crate::failure::Failure;

pub(super) fn plug(spec: &FsSpec, text: &str, plan: Plan) -> Result<Plan, Failure> {
    let FsSpec {
        socket,
        tag,
        queues,
    } = spec;
    if socket.is_dir() {
        let folder = socket.display();
        return Err(Failure::because(
            format!("--fs {text}: {folder} is a folder, and not virtiofsd's socket"),
            Vec::new(),
            format!(
                "start virtiofsd --socket-path=fs.sock --shared-dir={folder}, and give --fs \
                 fs.sock,tag={tag}"
            ),
        ));
    }
    let next = format!(
        "start virtiofsd first: `virtiofsd --socket-path={} --shared-dir=FOLDER`",
        socket.display()
    );
    let fs = VhostUser::fs_with_queues(socket, tag, *queues)
        .map_err(|error| failed("--fs", text, &error, &next))?;
    Ok(plan.with(Arc::new(fs)))
}
