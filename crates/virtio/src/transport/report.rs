//! Reports of a transport and its device.

use std::thread;
use std::time::Duration;

use vmmkit_telemetry::{Metrics, Tree};

use super::{QueueSetup, Transport};
use crate::queue::QueueCounters;
use crate::spec::{feature, status};

/// How often registers that somebody else has are looked at again, and how long after. An access of the
/// driver to a register is over long before; one that waits for the device may take seconds.
const LOOKS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(2);

/// The set-up of a driver, at a moment.
#[derive(Debug, Default)]
struct Registers {
    status: u8,
    driver_features: u64,
    queues: Vec<QueueSetup>,
}

impl Transport {
    /// The device with its registers, its queues and what it has done. The indices of a queue are
    /// those that lie in the guest's RAM now.
    ///
    /// It does not wait for the device: while this one does what its driver asked for, a reset for
    /// instance, it is `busy`, `busy_milliseconds` says for how long so far, and its registers are not told.
    pub fn inspect(&self) -> Tree {
        let mut tree = Tree::new().text("kind", self.kind().name());
        let registers = self.registers();
        tree = match &registers {
            Some(registers) => tree
                .text("status", words(registers.status))
                .hex("driver_features", registers.driver_features),
            None => {
                let so_far = self.busy().unwrap_or_default().as_millis();
                let so_far = u64::try_from(so_far).unwrap_or(u64::MAX);
                tree.flag("busy", true).number("busy_milliseconds", so_far)
            }
        };
        tree = tree
            .hex("offered_features", self.offered_features())
            .number("config_generation", self.config_generation())
            .flag("was_driven", self.was_driven())
            .counter("faults", self.fault.count());
        if let Some(reason) = self.fault.reason() {
            tree = tree.text("fault", reason);
        }
        let registers = registers.unwrap_or_default();
        for (index, (setup, counters)) in registers.queues.iter().zip(&self.counters).enumerate() {
            let indices = self.indices(setup, registers.driver_features);
            let queue = queue_tree(setup, counters, indices);
            tree = tree.tree(format!("queue{index}"), queue);
        }
        tree.tree("device", self.device.inspect())
    }

    /// How long its device has been at what the driver, a pause or the end asked for: to start, to stop or
    /// to come to rest. `None` where nobody waits for it. It does not wait.
    pub fn busy(&self) -> Option<Duration> {
        self.work.duration()
    }

    /// Adds what it and its device have counted. It does not wait for the device: while that is busy,
    /// nobody knows how deep its queues are.
    pub fn measure(&self, metrics: &mut Metrics) {
        let registers = self.registers().unwrap_or_default();
        let device = ("device", &*self.name);
        for (index, counters) in self.counters.iter().enumerate() {
            let labels = [device, ("queue", &*index.to_string())];
            let mut tree = counters.add_to(Tree::new());
            let setup = registers.queues.get(index);
            let features = registers.driver_features;
            let indices = setup.and_then(|setup| self.indices(setup, features));
            if let (Some((available, used)), Some(setup)) = (indices, setup) {
                let depth = available.wrapping_sub(used).min(setup.state.layout.size);
                tree = tree.gauge("depth", depth);
            }
            metrics.tree("queue", "of a virtqueue", &labels, &tree);
        }
        let help = "Times that a device could not go on without a reset";
        let faults = self.fault.count();
        metrics.counter("device_faults_total", help, &[device], faults);
        let kind = self.kind().name();
        let help = format!("of a {kind} device");
        metrics.tree(kind, &help, &[device], &self.device.inspect());
    }

    /// The registers as of now; `None` where somebody else has them for longer than a moment.
    fn registers(&self) -> Option<Registers> {
        for _ in 0..LOOKS {
            let Some(inner) = self.inner.try_lock() else {
                thread::sleep(PAUSE);
                continue;
            };
            let mut status = inner.status;
            if status & status::DRIVER_OK != 0 && self.fault.needs_reset() {
                status |= status::DEVICE_NEEDS_RESET;
            }
            return Some(Registers {
                status,
                driver_features: inner.driver_features,
                queues: inner.queues.clone(),
            });
        }
        None
    }

    /// The indices of the available and the used ring, where the queue can be found.
    fn indices(&self, setup: &QueueSetup, driver_features: u64) -> Option<(u16, u16)> {
        // A packed queue has none in RAM.
        if !setup.is_enabled || driver_features & feature::RING_PACKED != 0 {
            return None;
        }
        setup.state.layout.indices(&self.ram)
    }
}

fn queue_tree(setup: &QueueSetup, counters: &QueueCounters, indices: Option<(u16, u16)>) -> Tree {
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
    if let Some((available, used)) = indices {
        tree = tree
            .number("available_index", available)
            .number("used_index", used)
            .gauge("depth", available.wrapping_sub(used));
    }
    counters.add_to(tree)
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
