//! The parts of a machine, as it leads their life.

use std::any::Any;
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use vmmkit_device_bus::{DeviceId, Lifecycle, bring_to_rest};
use vmmkit_host_io::WorkThread;
use vmmkit_run_control::{ClockPolicy, Clocks, Event, PauseError, Supervisor};
use vmmkit_telemetry::{Metrics, Tree};
use vmmkit_virtio::{Device, DeviceThreads, TransportEvent};

use vmmkit_pc_platform::{Part, Plugged};

use crate::{BuildError, MachineConfig};

/// Until when a pause may take; `None` is as long as it takes.
pub(crate) type Deadline = Option<Instant>;

/// A paravirtual device, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// Its name in the machine: `blk0`.
    pub name: Arc<str>,
    /// The option that a Linux kernel must be configured with to drive it.
    pub kernel_option: Option<&'static str>,
    /// Whether a driver has ever been ready for it.
    pub was_driven: bool,
    /// How often it could not go on without a reset.
    pub faults: u64,
    /// Why, if it cannot go on now.
    pub fault: Option<String>,
    /// How long it has been starting, stopping or coming to rest, if it is at that.
    pub busy: Option<Duration>,
}

/// The devices, in the order they were plugged in.
#[derive(Default)]
pub(crate) struct Devices {
    /// All that the machine leads, in the order to start it: platform, virtio devices, the embedder's own.
    parts: Vec<Part>,
    /// Those of them that are virtio devices.
    list: Vec<Arc<dyn Plugged>>,
    clocks: Clocks,
    /// Starts and stops the virtio devices on behalf of the vCPUs.
    pub(crate) work: WorkThread,
    /// Held while they come to rest or go on, so that one request is whole before the next; for which others wait no
    /// longer than they may.
    are_at_rest: Mutex<bool>,
}

impl Devices {
    /// The parts of a platform, its virtio devices among them, and the embedder's `own`; no two have one name.
    pub(crate) fn new(
        platform: Vec<Part>,
        list: Vec<Arc<dyn Plugged>>,
        own: Vec<Part>,
        clocks: Clocks,
        work: WorkThread,
    ) -> Result<Self, BuildError> {
        let parts: Vec<Part> = platform.into_iter().chain(own).collect();
        let mut ids = HashSet::new();
        if let Some(twice) = parts.iter().find(|part| !ids.insert(part.id().clone())) {
            let id = twice.id().clone();
            return Err(BuildError::Twice { id });
        }
        Ok(Self {
            parts,
            list,
            clocks,
            work,
            are_at_rest: Mutex::new(false),
        })
    }

    /// Has all begin to work. What has begun is stopped by [`stop`](Self::stop) where one cannot.
    pub(crate) fn start(&self) -> io::Result<()> {
        self.parts.iter().try_for_each(|part| part.life().start())
    }

    /// Brings them to rest and stops the clocks, if the machine is still paused: another thread may have resumed it.
    /// Where one is not at rest at `deadline`, all work again, and the pause is to be withdrawn.
    pub(crate) fn rest(
        &self,
        supervisor: &Supervisor,
        deadline: Deadline,
    ) -> Result<(), PauseError> {
        let turn = match deadline {
            Some(deadline) => self.are_at_rest.try_lock_until(deadline),
            None => Some(self.are_at_rest.lock()),
        };
        let Some(mut are_at_rest) = turn else {
            // Another request waits for a device, most likely.
            let device = self.busy().into_iter().next().unwrap_or_default();
            return Err(PauseError::Device { device });
        };
        if *are_at_rest || !supervisor.control().is_paused() {
            return Ok(());
        }
        let list = self.parts.iter().map(Part::life);
        if let Err(place) = bring_to_rest(&list, deadline) {
            let part = self.parts.get(place);
            let device = part.map(|part| part.id().to_string()).unwrap_or_default();
            return Err(PauseError::Device { device });
        }
        self.clocks.stop();
        *are_at_rest = true;
        supervisor.report_paused();
        Ok(())
    }

    /// The one that is called `id`.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<dyn Device>> {
        let mut transports = self.list.iter().map(|device| device.transport());
        let transport = transports.find(|transport| &**transport.name() == id)?;
        Some(transport.device().clone())
    }

    /// The first one that is a `D`.
    pub(crate) fn first<D: Device>(&self) -> Option<Arc<D>> {
        let mut devices = self.list.iter().map(|device| device.transport().device());
        devices.find_map(|device| cast(device.clone()))
    }

    /// Those that do what a driver asked for at this moment.
    pub(crate) fn busy(&self) -> Vec<String> {
        let busy = |device: &&Arc<dyn Plugged>| device.transport().busy().is_some();
        self.list.iter().filter(busy).map(name).collect()
    }

    /// Has them work again, and then the vCPUs run.
    pub(crate) fn resume(&self, supervisor: &Supervisor, clock: ClockPolicy) {
        let mut are_at_rest = self.are_at_rest.lock();
        if !supervisor.may_resume() {
            return;
        }
        let were_at_rest = std::mem::take(&mut *are_at_rest);
        if were_at_rest {
            self.go_on(clock);
        }
        supervisor.resume(were_at_rest);
    }

    /// All parts, in their order.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The paravirtual devices, with their names.
    pub(crate) fn virtio(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<dyn Device>)> {
        let transports = self.list.iter().map(|device| device.transport());
        transports.map(|transport| (transport.name(), transport.device()))
    }

    /// Whether they are at rest, which they stay while the answer is held.
    pub(crate) fn hold_at_rest(&self) -> MutexGuard<'_, bool> {
        self.are_at_rest.lock()
    }

    /// They have been restored: they rest until the machine runs, and so do the clocks.
    pub(crate) fn begin_at_rest(&self) {
        let mut are_at_rest = self.are_at_rest.lock();
        self.clocks.stop();
        *are_at_rest = true;
    }

    /// The vCPUs are about to run for the first time: what was restored works again, unless the machine begins
    /// paused.
    pub(crate) fn begin(&self, supervisor: &Supervisor, clock: ClockPolicy) {
        let mut are_at_rest = self.are_at_rest.lock();
        if *are_at_rest && !supervisor.control().is_paused() {
            *are_at_rest = false;
            self.go_on(clock);
        }
    }

    fn go_on(&self, clock: ClockPolicy) {
        for part in &self.parts {
            part.life().resume();
        }
        self.clocks.start(clock);
    }

    /// Brings them to their state at power-on. No vCPU runs.
    pub(crate) fn reset(&self) {
        // Held so that nobody brings them to rest meanwhile. Those that are reset have no work, and
        // so are at rest as much as they are not.
        let are_at_rest = self.are_at_rest.lock();
        let list = self.parts.iter().map(Part::life);
        if !*are_at_rest {
            let _ = bring_to_rest(&list, None);
        }
        list.rev().for_each(Lifecycle::reset);
    }

    /// Gives up waiting: the run has ended.
    pub(crate) fn abandon(&self) {
        for device in &self.list {
            device.transport().abandon();
        }
    }

    /// Ends their work, whatever they are at.
    pub(crate) fn stop(&self) {
        for part in self.parts.iter().rev() {
            part.life().stop();
        }
    }

    /// Describes them.
    pub(crate) fn info(&self) -> Vec<DeviceInfo> {
        let info = |device: &Arc<dyn Plugged>| {
            let transport = device.transport();
            DeviceInfo {
                name: transport.name().clone(),
                kernel_option: transport.kind().kernel_option(),
                was_driven: transport.was_driven(),
                faults: transport.fault().count(),
                fault: transport.fault().reason(),
                busy: transport.busy(),
            }
        };
        self.list.iter().map(info).collect()
    }

    /// Adds what they have counted.
    pub(crate) fn measure(&self, metrics: &mut Metrics) {
        let is_virtio = |id: &DeviceId| {
            self.list
                .iter()
                .any(|it| **it.transport().name() == *id.as_str())
        };
        for part in self.parts.iter().filter(|part| !is_virtio(part.id())) {
            let whose = format!("of the device {}", part.id());
            metrics.tree(part.id().as_str(), &whose, &[], &part.device().inspect());
        }
        for device in &self.list {
            device.transport().measure(metrics);
        }
    }

    /// Adds how they are.
    pub(crate) fn inspect(&self, tree: Tree) -> Tree {
        self.parts.iter().fold(tree, |tree, part| {
            tree.tree(part.id().to_string(), part.device().inspect())
        })
    }
}

fn name(device: &Arc<dyn Plugged>) -> String {
    device.transport().name().to_string()
}

/// `device`, where it is a `D`.
pub(crate) fn cast<D: Device>(device: Arc<dyn Device>) -> Option<Arc<D>> {
    let device: Arc<dyn Any + Send + Sync> = device;
    device.downcast().ok()
}

/// Tells of what happens between devices and drivers; devices use the machine's threads and kind of queues.
/// Returns the thread that starts and resets them.
pub(crate) fn watch_all(
    list: &[Arc<dyn Plugged>],
    of: &Supervisor,
    config: &MachineConfig,
) -> WorkThread {
    let threads = DeviceThreads::new(config.threads.clone());
    for transport in list.iter().map(|device| device.transport()) {
        transport.use_threads(&threads);
        transport.offer_packed(config.packed);
        let (device, publish) = (transport.name().clone(), of.publisher());
        transport.watch(Box::new(move |event| {
            let device = device.clone();
            publish(match event {
                TransportEvent::DriverReady => Event::DriverReady { device },
                TransportEvent::NeedsReset(reason) => Event::DeviceFault { device, reason },
                TransportEvent::Lost(reason) => Event::DeviceLost { device, reason },
                TransportEvent::Back => Event::DeviceBack { device },
                // No event of a machine's that this version knows.
                _ => return,
            });
        }));
    }
    threads.work().clone()
}

impl fmt::Debug for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.info()).finish()
    }
}
