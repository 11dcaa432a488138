//! Persistent memory.

use std::sync::Arc;

use vmmkit_machine_spec::PmemSpec;
use vmmkit_virtio::Device;
use vmmkit_virtio_devices::{Pmem, PmemConfig};

use super::Plan;
use crate::Reason;

pub(super) fn open(spec: &PmemSpec, plan: &Plan) -> Result<Arc<dyn Device>, Reason> {
    let place = plan.next_memory();
    let config = PmemConfig {
        path: spec.path.clone(),
        discard_writes: spec.discard,
        guest_address: place.guest_address,
        slot: place.slot,
    };
    Ok(Arc::new(Pmem::open(&config)?))
}
