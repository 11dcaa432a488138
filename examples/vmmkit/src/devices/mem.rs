//! Memory that is plugged while the guest runs: `--memory SIZE,max=SIZE`.

use std::sync::Arc;

use vmmkit_guest_memory::GuestRam;
use vmmkit_virtio_devices::Mem;

use super::{Plan, failed};
use crate::failure::Failure;
use crate::memory;

/// Plugs the device in, if the guest's memory may grow.
pub(super) fn plug(plan: Plan) -> Result<Plan, Failure> {
    let text = memory::text(plan.ram());
    let area = GuestRam::pluggable(plan.ram()).map_err(|error| {
        let next = memory::advice(&error);
        failed("--memory", &text, &error, &next)
    })?;
    let Some(area) = area else { return Ok(plan) };
    let mem =
        Mem::new(area).map_err(|error| failed("--memory", &text, &error, "please report this"))?;
    Ok(plan.with(Arc::new(mem)))
}
