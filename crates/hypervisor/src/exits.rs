//! Exits of each vCPU by reason.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use vmmkit_device_bus::{AccessCounter, AccessCounts, BusView, Mmio, MmioBus, PortBus, Ports};
use vmmkit_telemetry::{Metrics, Tree};

use crate::{VcpuExit, VcpuId};

/// The exits of one vCPU so far.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VcpuExits {
    /// The vCPU.
    pub vcpu: VcpuId,
    /// Those to ports, `KVM_EXIT_IO`, by device.
    pub ports: AccessCounts,
    /// Those to addresses that are not RAM, `KVM_EXIT_MMIO`, by device.
    pub mmio: AccessCounts,
    /// All others, by name: `KVM_EXIT_INTR`. A kick by the VMM is one.
    pub others: BTreeMap<&'static str, u64>,
}

/// The counter of one vCPU's exits: accesses in the views of the buses, the others here.
#[derive(Debug)]
pub struct ExitCounter {
    vcpu: VcpuId,
    ports: AccessCounter<Ports>,
    mmio: AccessCounter<Mmio>,
    /// None of them is frequent.
    others: Mutex<BTreeMap<&'static str, u64>>,
}

impl ExitCounter {
    /// A counter for `vcpu`, which reaches devices by these buses.
    pub fn new(vcpu: VcpuId, ports: &Arc<PortBus>, mmio: &Arc<MmioBus>) -> Self {
        Self {
            vcpu,
            ports: ports.counter(),
            mmio: mmio.counter(),
            others: Mutex::default(),
        }
    }

    /// The views by which the vCPU is to reach devices; after a reset that is another vCPU of its number.
    pub fn views(&self) -> (BusView<Ports>, BusView<Mmio>) {
        (self.ports.view(), self.mmio.view())
    }

    /// An exit that is not an access.
    pub fn count(&self, exit: &VcpuExit) {
        *self.others().entry(exit.name()).or_default() += 1;
    }

    /// The exits so far.
    pub fn exits(&self) -> VcpuExits {
        VcpuExits {
            vcpu: self.vcpu,
            ports: self.ports.counts(),
            mmio: self.mmio.counts(),
            others: self.others().clone(),
        }
    }

    fn others(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.others.lock()
    }
}

impl VcpuExits {
    /// Each reason with its count.
    pub fn reasons(&self) -> Vec<(String, u64)> {
        let accesses = [
            ("io_in", self.ports.reads),
            ("io_out", self.ports.writes),
            ("mmio_read", self.mmio.reads),
            ("mmio_write", self.mmio.writes),
        ];
        let accesses = accesses.map(|(reason, count)| (reason.to_owned(), count));
        let others = self.others.iter().map(|(name, count)| {
            let name = name.strip_prefix("KVM_EXIT_").unwrap_or("other");
            (name.to_lowercase(), *count)
        });
        accesses.into_iter().chain(others).collect()
    }

    /// As a tree: reasons, then devices.
    pub fn tree(&self) -> Tree {
        let reasons = self.reasons().into_iter();
        let tree = reasons.fold(Tree::new(), |tree, (reason, count)| {
            tree.counter(reason, count)
        });
        tree.tree("ports", self.ports.tree())
            .tree("mmio", self.mmio.tree())
    }

    /// Adds them to `metrics`, by reason and by device.
    pub fn measure(&self, metrics: &mut Metrics) {
        let vcpu = self.vcpu.0.to_string();
        for (reason, count) in self.reasons() {
            metrics.counter(
                "vcpu_exits_total",
                "Exits of a vCPU to the VMM, by reason",
                &[("vcpu", &vcpu), ("reason", &reason)],
                count,
            );
        }
        self.ports.measure(&vcpu, "ports", metrics);
        self.mmio.measure(&vcpu, "mmio", metrics);
    }
}
