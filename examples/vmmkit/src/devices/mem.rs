//! Memory that is plugged while the guest runs: `--memory SIZE,max=SIZE`.

use std::sync::Arc;

use vmmkit_device_bus::Lifecycle;
use vmmkit_guest_memory::GuestRam;
use vmmkit_virtio_devices::Mem;

use super::{Live, Plan, failed};
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
    let mem = Mem::new(area.clone())
        .map_err(|error| failed("--memory", &text, &error, "please report this"))?;
    let mem = Arc::new(mem);
    let reset = Arc::new(Reset(mem.clone()));
    Ok(plan.with_live(Live::Mem(mem)).with_area(area, reset))
}

/// A reset of the machine takes what was plugged; one of the device alone does not.
struct Reset(Arc<Mem>);

impl Lifecycle for Reset {
    fn reset(&self) {
        self.0.power_on();
    }
}
