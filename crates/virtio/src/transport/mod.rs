//! The driver's side of a device, whatever its registers look like.

mod features;
mod mmio;
mod pci;
mod report;
mod setup;
mod state;
mod work;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use vmmkit_device_bus::Lifecycle;
use vmmkit_guest_memory::GuestRam;
use vmmkit_host_io::EventFd;

use crate::queue::{QueueCounters, Ring};
use crate::spec::{feature, status};
use crate::{
    Activation, Active, ConfigChange, Device, DeviceKind, DeviceThreads, Fault, Interrupts, Queue,
    Queues, Watcher,
};

pub use mmio::MmioTransport;
pub use pci::{Doorbells, PciTransport};
pub use setup::QueuePart;
pub(crate) use setup::QueueSetup;
use work::AtWork;

/// Features that every device has by its transport.
const OFFERED: u64 =
    feature::VERSION_1 | feature::INDIRECT_DESC | feature::EVENT_IDX | feature::RING_RESET;

/// The common part of every transport: status, features, queues and configuration of one device,
/// and its life. A transport proper shows them as registers.
///
/// vCPU threads call it, and one lock serves them all: nothing of it is on the path of a request.
pub struct Transport {
    name: Arc<str>,
    device: Arc<dyn Device>,
    ram: GuestRam,
    offered: u64,
    offers_packed: AtomicBool,
    kicks: Vec<Arc<EventFd>>,
    counters: Vec<Arc<QueueCounters>>,
    interrupts: Arc<dyn Interrupts>,
    fault: Arc<Fault>,
    generation: Arc<Mutex<u32>>,
    was_driven: AtomicBool,
    work: AtWork,
    threads: OnceLock<DeviceThreads>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    status: u8,
    driver_features: u64,
    queues: Vec<QueueSetup>,
    active: Option<Box<dyn Active>>,
    /// The device must not access memory now.
    is_held: bool,
    /// The machine is paused.
    is_paused: bool,
    /// It was restored and has not worked since.
    is_restored: bool,
}

impl Transport {
    /// The transport of `device`, called `name` in the machine, whose driver is interrupted by
    /// `interrupts`.
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub fn new(
        name: &str,
        device: Arc<dyn Device>,
        ram: &GuestRam,
        interrupts: Arc<dyn Interrupts>,
    ) -> io::Result<Self> {
        let sizes = device.queue_sizes();
        let kicks = sizes.iter().map(|_| Ok(Arc::new(EventFd::new()?)));
        let kicks = kicks.collect::<io::Result<Vec<_>>>()?;
        let counters = sizes.iter().map(|_| Arc::default()).collect();
        let generation = Arc::<Mutex<u32>>::default();
        let queues = sizes.iter().map(|most| QueueSetup::new(*most)).collect();
        device.connect(ConfigChange {
            generation: generation.clone(),
            interrupts: interrupts.clone(),
        });
        let name: Arc<str> = name.into();
        Ok(Self {
            fault: Arc::new(Fault::new(name.clone(), interrupts.clone())),
            name,
            offered: device.features() | (OFFERED & (device.queue_features() | feature::VERSION_1)),
            offers_packed: AtomicBool::new(false),
            ram: ram.clone(),
            device,
            kicks,
            counters,
            interrupts,
            generation,
            was_driven: AtomicBool::new(false),
            work: AtWork::default(),
            threads: OnceLock::new(),
            inner: Mutex::new(Inner {
                queues,
                ..Inner::default()
            }),
        })
    }

    /// The device's name in the machine.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The device's kind.
    pub fn kind(&self) -> DeviceKind {
        self.device.kind()
    }

    /// The device.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// The fault of the device, if there is one.
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    /// Has `watcher` told of what happens from now on. The first one stays.
    pub fn watch(&self, watcher: Watcher) {
        let _ = self.fault.watcher.set(watcher);
    }

    /// Has its device's work done by `threads`, which it has together with others of the machine. The first ones
    /// stay; without any before a driver is ready, it has some alone.
    pub fn use_threads(&self, threads: &DeviceThreads) {
        let _ = self.threads.set(threads.clone());
    }

    /// The machine is about to end: see [`Device::abandon`]. It does not wait.
    pub fn abandon(&self) {
        self.device.abandon();
    }

    /// Whether a driver has ever been ready.
    pub fn was_driven(&self) -> bool {
        self.was_driven.load(Ordering::Relaxed)
    }

    /// Whether a driver is ready now.
    pub fn is_driven(&self) -> bool {
        self.lock().status & status::DRIVER_OK != 0
    }

    /// The eventfd that a kick of queue `index` raises: for the hypervisor, so that a kick is not an exit.
    pub fn kick(&self, index: u16) -> Option<&Arc<EventFd>> {
        self.kicks.get(usize::from(index))
    }

    /// The number of queues.
    pub fn queue_count(&self) -> u16 {
        // More than 65,535 queues cannot be selected.
        u16::try_from(self.kicks.len()).unwrap_or(u16::MAX)
    }

    /// The driver kicks queue `index`, by way of the VMM.
    pub fn notify(&self, index: u32) {
        if let Some(kick) = usize::try_from(index)
            .ok()
            .and_then(|index| self.kicks.get(index))
        {
            kick.notify();
        }
    }

    /// The device status (virtio 1.2, section 2.1).
    pub fn status(&self) -> u8 {
        let status = self.lock().status;
        if status & status::DRIVER_OK != 0 && self.fault.needs_reset() {
            return status | status::DEVICE_NEEDS_RESET;
        }
        status
    }

    /// The driver writes the device status: 0 resets the device; a bit that is set stays set.
    pub fn set_status(&self, value: u8) {
        let mut inner = self.lock();
        let _work = self.work.begin();
        if value == 0 {
            self.reset_inner(&mut inner);
            return;
        }
        let mut new = (inner.status | value) & !status::DEVICE_NEEDS_RESET;
        let sets = new & !inner.status;
        if sets & status::FEATURES_OK != 0 && !self.accepts(inner.driver_features) {
            new &= !status::FEATURES_OK;
        }
        let may_run = new & status::FEATURES_OK != 0 && new & status::FAILED == 0;
        if !may_run {
            new &= !status::DRIVER_OK;
        }
        let starts = new & status::DRIVER_OK != 0 && inner.status & status::DRIVER_OK == 0;
        inner.status = new;
        if starts && !inner.is_held {
            self.activate(&mut inner);
        }
    }

    /// While `is_held`, the device does not access memory: its work rests from before this returns,
    /// and a driver that gets ready waits. Then everything goes on: PCI's bus mastering.
    pub fn hold(&self, is_held: bool) {
        let mut inner = self.lock();
        let _work = self.work.begin();
        if std::mem::replace(&mut inner.is_held, is_held) == is_held {
            return;
        }
        if inner.is_paused {
            return;
        }
        match &mut inner.active {
            Some(_) => self.with_active(&mut inner, move |active| {
                if is_held {
                    active.pause();
                    active.wait_paused();
                } else {
                    active.resume();
                }
            }),
            None if is_held => {}
            None => self.start(&mut inner),
        }
    }

    /// Has `work` done where threads can be started.
    fn apart<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self.threads.get() {
            Some(threads) => threads.work().run(work),
            None => work(),
        }
    }

    /// Has `work` done with the device, if it works.
    fn with_active(&self, inner: &mut Inner, work: impl FnOnce(&mut dyn Active) + Send + 'static) {
        if let Some(mut active) = inner.active.take() {
            inner.active = Some(self.apart(move || {
                work(&mut *active);
                active
            }));
        }
    }

    /// Gives a driver that got ready meanwhile its device; one that could not work needs a reset.
    fn start(&self, inner: &mut Inner) {
        if inner.status & status::DRIVER_OK != 0 && !self.fault.needs_reset() {
            self.activate(inner);
        }
    }

    /// Reads the configuration space; zeroes where there is none.
    pub fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        bytes.fill(0);
        self.device.read_config(offset, bytes);
    }

    /// Writes the configuration space.
    pub fn write_config(&self, offset: usize, bytes: &[u8]) {
        self.device.write_config(offset, bytes);
    }

    /// Changes whenever the configuration does (section 2.5.1). It is not read in the middle of a
    /// [change](ConfigChange::apply).
    pub fn config_generation(&self) -> u32 {
        *self.generation()
    }

    fn generation(&self) -> MutexGuard<'_, u32> {
        self.generation.lock()
    }

    /// Gives the device its queues.
    fn activate(&self, inner: &mut Inner) {
        let features = inner.driver_features;
        let mut queues = Queues::default();
        for (index, setup) in (0..).zip(&inner.queues) {
            if !setup.is_enabled {
                continue;
            }
            match self.queue(index, setup, features) {
                Some(queue) => queues.insert(queue),
                None => return,
            }
        }
        let activation = Activation {
            name: self.name.clone(),
            features,
            ram: self.ram.clone(),
            queues,
            fault: self.fault.clone(),
            threads: self.threads.get_or_init(DeviceThreads::default).clone(),
        };
        self.was_driven.store(true, Ordering::Relaxed);
        let device = self.device.clone();
        match self.apart(move || device.activate(activation)) {
            Ok(active) => {
                inner.active = Some(active);
                self.fault.driver_ready(features);
                if std::mem::take(&mut inner.is_restored) {
                    self.interrupt_all(inner);
                }
            }
            Err(error) => self.fault.report(error.to_string()),
        }
    }

    /// An interrupt that was on its way while the machine was saved may be lost; a spurious one does no harm.
    fn interrupt_all(&self, inner: &Inner) {
        for (index, setup) in (0..).zip(&inner.queues) {
            if setup.is_enabled {
                self.interrupts.queue(index);
            }
        }
    }

    /// The queue `index` as set up; `None`, and reported, where it breaks the rules.
    fn queue(&self, index: u16, setup: &QueueSetup, features: u64) -> Option<Queue> {
        let ring = Ring::resume(&self.ram, setup.state, features)
            .map_err(|error| self.fault.ring(index, error))
            .ok()?;
        Some(Queue::new(
            index,
            ring,
            self.kicks.get(usize::from(index))?.clone(),
            self.interrupts.clone(),
            self.fault.clone(),
            self.counters.get(usize::from(index))?.clone(),
        ))
    }

    fn reset_inner(&self, inner: &mut Inner) {
        let (device, active) = (self.device.clone(), inner.active.take());
        if active.is_some() {
            self.fault.driver_gone();
        }
        self.apart(move || {
            // Waits for the device's work to end.
            drop(active);
            device.reset();
        });
        self.fault.reset();
        inner.status = 0;
        inner.is_restored = false;
        inner.driver_features = 0;
        for (setup, kick) in inner.queues.iter_mut().zip(&self.kicks) {
            *setup = QueueSetup::new(setup.most);
            kick.drain();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What a panic of a device may leave is caught up with by the next reset.
        self.inner.lock()
    }
}

impl Lifecycle for Transport {
    fn pause(&self) {
        let mut inner = self.lock();
        inner.is_paused = true;
        if let Some(active) = inner.working() {
            active.pause();
        }
    }

    fn wait_paused(&self) {
        let mut inner = self.lock();
        let _work = self.work.begin();
        if let Some(active) = inner.working() {
            active.wait_paused();
        }
    }

    fn wait_paused_until(&self, deadline: Instant) -> bool {
        let mut inner = self.lock();
        let _work = self.work.begin();
        let active = inner.working();
        active.is_none_or(|active| active.wait_paused_until(deadline))
    }

    fn resume(&self) {
        let mut inner = self.lock();
        let _work = self.work.begin();
        inner.is_paused = false;
        if inner.is_held {
            return;
        }
        match &mut inner.active {
            Some(active) => active.resume(),
            None => self.start(&mut inner),
        }
    }

    fn reset(&self) {
        let mut inner = self.lock();
        let _work = self.work.begin();
        inner.is_paused = false;
        self.reset_inner(&mut inner);
        self.device.power_on();
    }

    fn stop(&self) {
        let mut inner = self.lock();
        let work = self.work.begin();
        inner.active = None;
        drop(work);
        drop(inner);
        self.device.close();
    }
}

impl Inner {
    /// The device at work, unless it is held: then it rests, and stays so.
    fn working(&mut self) -> Option<&mut Box<dyn Active>> {
        self.active.as_mut().filter(|_| !self.is_held)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("name", &self.name)
            .field("kind", &self.kind())
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}
