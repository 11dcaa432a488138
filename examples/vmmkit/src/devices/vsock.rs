//! `--vsock`.

use std::sync::Arc;

use vmmkit_machine_spec::VsockSpec;
use vmmkit_virtio_devices::{Console, Port, Vsock, VsockConfig, VsockError};

use super::{Plan, failed};
use crate::failure::Failure;

pub(super) fn plug(spec: &VsockSpec, text: &str, plan: Plan) -> Result<Plan, Failure> {
    let config = VsockConfig {
        cid: spec.cid,
        socket: spec.socket.clone(),
    };
    let next = "give another path, or end the program that listens there";
    let wrong = |error: VsockError| failed("--vsock", text, &error, next);
    if plan.outputs().is_dry() {
        config.check().map_err(wrong)?;
        // Takes as much of the machine, and nothing of the host.
        let stand_in = Console::new(vec![Port::null()]);
        let stand_in = stand_in.map_err(|error| failed("--vsock", text, &error, next))?;
        return Ok(plan.with(Arc::new(stand_in)));
    }
    let vsock = Vsock::new(config).map_err(wrong)?;
    Ok(plan.with(Arc::new(vsock)))
}
