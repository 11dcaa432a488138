//! Memory that is plugged while the guest runs: `--memory SIZE,max=SIZE`.

use std::sync::Arc;

use vmmkit_guest_memory::GuestRam;
use vmmkit_machine_spec::Field;
use vmmkit_virtio_devices::Mem;

use super::{Plan, failed};
use crate::build_failure;
use crate::failure::Failure;
use crate::settings::Settings;

/// Plugs the device in, if the guest's memory may grow.
pub(super) fn plug(plan: Plan, settings: &Settings) -> Result<Plan, Failure> {
    let text = settings.spec.value(Field::Memory);
    let area = GuestRam::pluggable(&settings.machine.ram).map_err(|error| {
        let next = build_failure::of_memory(&error);
        failed("--memory", &text, &error, &next)
    })?;
    let Some(area) = area else { return Ok(plan) };
    let mem =
        Mem::new(area).map_err(|error| failed("--memory", &text, &error, "please report this"))?;
    Ok(plan.with(Arc::new(mem)))
}
