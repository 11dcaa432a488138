//! `--pmem`.

use std::sync::Arc;

use vmmkit_machine_spec::PmemSpec;
use vmmkit_virtio_devices::{Pmem, PmemConfig};
use vmmkit_vmm::MemoryPlace;

use super::{Plan, failed};
use crate::failure::Failure;

pub(super) fn plug(spec: &PmemSpec, text: &str, plan: Plan) -> Result<Plan, Failure> {
    let MemoryPlace {
        guest_address,
        slot,
    } = plan.next_memory();
    let config = PmemConfig {
        path: spec.path.clone(),
        discard_writes: spec.discard,
        guest_address,
        slot,
    };
    let next = "check the path and its permissions; the size must be a multiple of 2M";
    let pmem = Pmem::open(&config).map_err(|error| failed("--pmem", text, &error, next))?;
    Ok(plan.with(Arc::new(pmem)))
}
