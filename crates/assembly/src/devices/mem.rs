//! Memory that is plugged while the guest runs.

use std::sync::Arc;

use vmmkit_guest_memory::GuestRam;
use vmmkit_machine_spec::Field;
use vmmkit_virtio_devices::Mem;

use super::Plan;
use crate::Reason;

/// Plugs the device in, if the guest's memory may grow.
pub(super) fn plug(plan: &mut Plan) -> Result<(), Reason> {
    if let Some(area) = GuestRam::pluggable(&plan.ram)? {
        plan.add(Field::Memory, Arc::new(Mem::new(area)?));
    }
    Ok(())
}
