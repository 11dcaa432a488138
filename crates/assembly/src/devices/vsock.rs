//! Sockets between guest and host.

use std::sync::Arc;

use vmmkit_machine_spec::VsockSpec;
use vmmkit_virtio::Device;
use vmmkit_virtio_devices::{Console, Port, Vsock, VsockConfig};

use super::Plan;
use crate::Reason;

pub(super) fn open(spec: &VsockSpec, plan: &Plan) -> Result<Arc<dyn Device>, Reason> {
    let config = VsockConfig {
        cid: spec.cid,
        socket: spec.socket.clone(),
    };
    if plan.outputs.is_dry() {
        config.check()?;
        // Takes as much of the machine, and nothing of the host.
        return Ok(Arc::new(Console::new(vec![Port::null()])?));
    }
    Ok(Arc::new(Vsock::new(config)?))
}
