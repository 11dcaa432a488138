//! What a transport says of itself and its device.

use vmmkit_telemetry::{Metrics, Tree};

use super::{QueueSetup, Transport, lock};
use crate::queue::QueueCounters;
use crate::spec::{feature, status};

impl Transport {
    /// The device with its registers, its queues and what it has done. The indices of a queue are
    /// those that lie in the guest's RAM now.
    pub fn inspect(&self) -> Tree {
        let status = self.status();
        let (driver_features, queues) = {
            let inner = lock(&self.inner);
            (inner.driver_features, inner.queues.clone())
        };
        let mut tree = Tree::new()
            .text("kind", self.kind().name())
            .text("status", words(status))
            .hex("offered_features", self.offered_features())
            .hex("driver_features", driver_features)
            .number("config_generation", self.config_generation())
            .flag("was_driven", self.was_driven())
            .counter("faults", self.fault.count());
        if let Some(reason) = self.fault.reason() {
            tree = tree.text("fault", reason);
        }
        for (index, (setup, counters)) in queues.iter().zip(&self.counters).enumerate() {
            tree = tree.tree(format!("queue{index}"), self.queue_tree(setup, counters));
        }
        tree.tree("device", self.device.inspect())
    }

    /// Adds what it and its device have counted.
    pub fn measure(&self, metrics: &mut Metrics) {
        let queues = lock(&self.inner).queues.clone();
        let device = ("device", &*self.name);
        for (index, (setup, counters)) in queues.iter().zip(&self.counters).enumerate() {
            let labels = [device, ("queue", &*index.to_string())];
            let mut tree = counters.add_to(Tree::new());
            if let Some((available, used)) = self.indices(setup) {
                let depth = available.wrapping_sub(used).min(setup.state.layout.size);
                tree = tree.gauge("depth", depth);
            }
            metrics.tree("vmmkit_queue", "of a virtqueue", &labels, &tree);
        }
        let help = "Times that a device could not go on without a reset";
        let faults = self.fault.count();
        metrics.counter("vmmkit_device_faults_total", help, &[device], faults);
        let kind = self.kind().name();
        let help = format!("of a {kind} device");
        let prefix = format!("vmmkit_{kind}");
        metrics.tree(&prefix, &help, &[device], &self.device.inspect());
    }

    fn queue_tree(&self, setup: &QueueSetup, counters: &QueueCounters) -> Tree {
        let layout = setup.state.layout;
        let mut tree = Tree::new()
            .flag("enabled", setup.is_enabled)
            .number("size", layout.size);
        if !setup.is_enabled {
            return counters.add_to(tree);
        }
        tree = tree
            .hex("descriptors", layout.descriptors)
            .hex("available", layout.available)
            .hex("used", layout.used);
        if let Some((available, used)) = self.indices(setup) {
            tree = tree
                .number("available_index", available)
                .number("used_index", used)
                .gauge("depth", available.wrapping_sub(used));
        }
        counters.add_to(tree)
    }

    /// The indices of the available and the used ring, where the queue can be found.
    fn indices(&self, setup: &QueueSetup) -> Option<(u16, u16)> {
        // A packed queue has none in RAM.
        if !setup.is_enabled || self.driver_features() & feature::RING_PACKED != 0 {
            return None;
        }
        setup.state.layout.indices(&self.ram)
    }
}

/// The device status in the words of section 2.1.
fn words(value: u8) -> String {
    let names = [
        (status::ACKNOWLEDGE, "ACKNOWLEDGE"),
        (status::DRIVER, "DRIVER"),
        (status::FEATURES_OK, "FEATURES_OK"),
        (status::DRIVER_OK, "DRIVER_OK"),
        (status::DEVICE_NEEDS_RESET, "DEVICE_NEEDS_RESET"),
        (status::FAILED, "FAILED"),
    ];
    let set = names.iter().filter(|(bit, _)| value & bit != 0);
    let set: Vec<_> = set.map(|(_, name)| *name).collect();
    match set.is_empty() {
        true => "reset".to_owned(),
        false => set.join(" "),
    }
}
