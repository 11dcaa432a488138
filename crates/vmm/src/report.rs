//! Reports of a machine: metrics for programs, a tree for people.

use std::sync::Arc;

use vmmkit_hypervisor::VcpuExits;
use vmmkit_telemetry::{BootLog, Metrics, Tree};

use crate::{Handle, MachineConfig};

impl Handle {
    /// Exits of every vCPU by reason, so far.
    pub fn exits(&self) -> Vec<VcpuExits> {
        self.shared().platform.exits()
    }

    /// When the machine got how far.
    pub fn boot_log(&self) -> &Arc<BootLog> {
        self.run_control().boot_log()
    }

    /// All that the machine counts, as of now; it costs the guest nothing. The names are those of the parts:
    /// see [`Metrics::published`].
    pub fn metrics(&self) -> Metrics {
        let shared = self.shared();
        let mut metrics = Metrics::new();
        let help = "RAM of the guest, from its start on";
        metrics.gauge("ram_bytes", help, &[], shared.ram.size() as f64);
        self.boot_log().milestones().measure(&mut metrics);
        for exits in self.exits() {
            exits.measure(&mut metrics);
        }
        shared.devices.measure(&mut metrics);
        metrics
    }

    /// The state of every part, as of now. The registers of a vCPU are those of a moment at which
    /// it was taken out of the guest, unless the machine is paused.
    pub fn inspect(&self) -> Tree {
        let shared = self.shared();
        let platform = &shared.platform;
        let memory = shared.ram.regions().iter().fold(Tree::new(), |tree, ram| {
            let (start, end) = (ram.guest_address.0, ram.guest_address.0 + ram.size);
            let place = Tree::new()
                .number("bytes", ram.size)
                .hex("host_address", ram.host_address);
            tree.tree(format!("{start:#x}-{:#x}", end - 1), place)
        });
        let mut tree = Tree::new()
            .tree(
                "machine",
                shared
                    .about
                    .clone()
                    .text("state", format!("{:?}", self.state())),
            )
            .tree("boot", self.boot_log().milestones().tree())
            .tree("memory", memory);
        let dumps = self.dump_vcpus();
        for exits in self.exits() {
            let dump = dumps.iter().find(|dump| dump.vcpu == exits.vcpu);
            let vcpu = dump.map(|dump| dump.tree()).unwrap_or_default();
            tree = tree.tree(exits.vcpu.to_string(), vcpu.tree("exits", exits.tree()));
        }
        tree = tree
            .tree("ports", platform.ports.inspect())
            .tree("mmio", platform.mmio.inspect());
        shared.devices.inspect(tree)
    }
}

/// The machine as it was asked for.
pub(crate) fn about(config: &MachineConfig) -> Tree {
    let kernel = config.boot.as_kernel();
    let initrd = kernel.and_then(|kernel| kernel.initrd.as_ref());
    let initrd = initrd.map_or("none".to_owned(), |initrd| initrd.file.to_string());
    let image = kernel.map_or(String::new(), |kernel| kernel.image.to_string());
    Tree::new()
        .text("name", &*config.name)
        .text("kernel", image)
        .text("initrd", initrd)
        .text("cmdline", kernel.map_or("", |kernel| &*kernel.cmdline))
        .number("vcpus", config.vcpus)
        .number("memory", config.ram.size.bytes())
        .flag("acpi", config.acpi)
}
