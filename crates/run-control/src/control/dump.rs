//! The registers of vCPUs, each read on its own thread.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use vmmkit_hypervisor::VcpuId;

use super::{Control, Phase};
use crate::VcpuDump;

impl Phase {
    pub(super) fn lacks_dump_of(&self, vcpu: VcpuId) -> bool {
        let place = self.dumps.get(vcpu.0 as usize);
        place.is_some_and(Option::is_none)
    }

    pub(super) fn add_dump(&mut self, dump: VcpuDump) {
        if let Some(place) = self.dumps.get_mut(dump.vcpu.0 as usize) {
            *place = Some(dump);
        }
    }
}

impl Control {
    /// What the registers of every vCPU hold, each read on its own thread; none before the start and
    /// after the end. A vCPU that ends meanwhile is left out.
    pub fn dump(&self) -> Vec<VcpuDump> {
        let _turn = self
            .dump_turn
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut phase = self.lock();
        phase.dumps = vec![None; phase.vcpus];
        // Ordering: pairs with the load in `may_run`, as a pause does.
        self.dumping.store(true, Ordering::Release);
        drop(phase);
        self.kick_all();
        self.changed.notify_all();
        let mut phase = self.lock();
        while phase.dumps.iter().flatten().count() + phase.finished < phase.vcpus {
            phase = self.wait(phase);
        }
        self.dumping.store(false, Ordering::Release);
        std::mem::take(&mut phase.dumps)
            .into_iter()
            .flatten()
            .collect()
    }
}
