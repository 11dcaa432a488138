//! Reports of a bus and its views.

use vmmkit_telemetry::{Metrics, Tree};

use crate::{AccessCounts, Bus, Space};

impl<S: Space> Bus<S> {
    /// The owners, and the accesses that nobody answered.
    pub fn inspect(&self) -> Tree {
        let regions = self.regions().into_iter();
        let tree = regions.fold(Tree::new(), |tree, region| {
            tree.text(region.range.to_string(), &*region.name)
        });
        let unclaimed = self.unclaimed();
        let addresses = unclaimed.addresses.iter();
        let addresses: Vec<_> = addresses.map(|address| format!("{address:#x}")).collect();
        let mut nobody = Tree::new()
            .counter("reads", unclaimed.reads)
            .counter("writes", unclaimed.writes);
        if !addresses.is_empty() {
            nobody = nobody.text("first_addresses", addresses.join(" "));
        }
        tree.tree("unclaimed", nobody)
    }
}

impl AccessCounts {
    /// Reads and writes of each device.
    pub fn tree(&self) -> Tree {
        self.owners.iter().fold(Tree::new(), |tree, owner| {
            let accesses = Tree::new()
                .counter("reads", owner.reads)
                .counter("writes", owner.writes);
            tree.tree(owner.name.to_string(), accesses)
        })
    }

    /// Adds reads and writes of each device to `metrics`, as those of `vcpu` to `space`.
    pub fn measure(&self, vcpu: &str, space: &str, metrics: &mut Metrics) {
        let name = "vcpu_accesses_total";
        let help = "Accesses of a vCPU to a device, or to what no device owns";
        for owner in &self.owners {
            for (access, count) in [("read", owner.reads), ("write", owner.writes)] {
                let labels = [
                    ("vcpu", vcpu),
                    ("space", space),
                    ("device", &*owner.name),
                    ("access", access),
                ];
                metrics.counter(name, help, &labels, count);
            }
        }
    }
}
