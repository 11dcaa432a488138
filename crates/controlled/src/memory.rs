//! The balloon and the memory that may be plugged, as the control API has them.

use std::sync::Arc;

use vmmkit_control::{Balloon, Memory, Refusal};
use vmmkit_guest_memory::{BLOCK_SIZE, PAGE_SIZE};

use crate::ControlledMachine;
use crate::device::statistics;

impl ControlledMachine {
    pub(crate) fn balloon_now(&self) -> Option<Balloon> {
        let balloon = self.the_balloon()?;
        Some(Balloon {
            target_bytes: u64::from(balloon.target_pages()) * PAGE_SIZE,
            actual_bytes: u64::from(balloon.actual_pages()) * PAGE_SIZE,
            statistics: statistics(&balloon),
        })
    }

    pub(crate) fn target_balloon(&self, target_bytes: u64) -> Result<(), Refusal> {
        let balloon = self.the_balloon().ok_or(Refusal::NoBalloon)?;
        let most = self.memory_bytes();
        let mebibytes = u32::try_from(target_bytes >> 20).ok();
        let Some(mebibytes) = mebibytes.filter(|_| target_bytes < most) else {
            return Err(Refusal::Field {
                field: "target_bytes",
                reason: format!("it must be less than the {most} bytes that the guest has in all"),
            });
        };
        balloon.set_target(mebibytes);
        Ok(())
    }

    pub(crate) fn memory_now(&self) -> Option<Memory> {
        let mem = self.the_memory()?;
        let boot_bytes = self.memory_bytes();
        Some(Memory {
            boot_bytes,
            maximum_bytes: boot_bytes + mem.size(),
            target_bytes: boot_bytes + mem.requested(),
            actual_bytes: boot_bytes + mem.plugged(),
            block_bytes: BLOCK_SIZE,
        })
    }

    pub(crate) fn target_memory(&self, target_bytes: u64) -> Result<(), Refusal> {
        let mem = self.the_memory().ok_or(Refusal::NoMemory)?;
        let boot = self.memory_bytes();
        let wrong = |reason| Refusal::Field {
            field: "target_bytes",
            reason,
        };
        let added = target_bytes.checked_sub(boot);
        let too_few = || {
            wrong(format!(
                "the guest has {boot} bytes from the start, which it keeps"
            ))
        };
        let result = mem.request(added.ok_or_else(too_few)?);
        result.map_err(|error| wrong(format!("besides the {boot} from the start, {error}")))
    }

    fn the_balloon(&self) -> Option<Arc<vmmkit_virtio_devices::Balloon>> {
        self.handle().ok()?.first_device()
    }

    fn the_memory(&self) -> Option<Arc<vmmkit_virtio_devices::Mem>> {
        self.handle().ok()?.first_device()
    }
}
