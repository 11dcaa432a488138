//! The interface of a device to its transport.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use thiserror::Error;
use vmmkit_device_bus::SaveState;
use vmmkit_guest_memory::GuestRam;
use vmmkit_telemetry::{Tree, error_line};

use crate::engine::Workers;
use crate::{DeviceKind, DeviceThreads, Engine, Fault, Interrupts, Queue, QueueState, Queues};

/// A paravirtual device: what it is and has, whoever drives it by whatever transport. vCPU threads
/// call it, the transport one at a time; none of it may wait for the guest.
pub trait Device: Any + Send + Sync {
    /// Its kind.
    fn kind(&self) -> DeviceKind;

    /// The features of its own that it offers (bits 0 to 23, and 50 to 127). The transport adds
    /// those of queues and of itself.
    fn features(&self) -> u64 {
        0
    }

    /// Which features of queues and of the transport its queues may have, of those that there are.
    /// A device whose queues are served by another process has what that process can do. VERSION_1
    /// is not a matter of choice.
    fn queue_features(&self) -> u64 {
        u64::MAX
    }

    /// The most entries of each of its queues: powers of 2 up to 32,768.
    fn queue_sizes(&self) -> &[u16];

    /// Reads the configuration space from `offset`. What is beyond its end stays as it is, which is
    /// all zeroes.
    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        let _ = (offset, bytes);
    }

    /// Writes the configuration space.
    fn write_config(&self, offset: usize, bytes: &[u8]) {
        let _ = (offset, bytes);
    }

    /// Called once, before everything else: what to tell the driver by that the configuration has
    /// changed.
    fn connect(&self, change: ConfigChange) {
        let _ = change;
    }

    /// The driver is ready: the features it took, and the queues it enabled. The device works until
    /// what is returned is dropped, which must wait for all its work to end.
    ///
    /// # Errors
    /// [`ActivateError`]: the driver sees DEVICE_NEEDS_RESET.
    fn activate(&self, activation: Activation) -> Result<Box<dyn Active>, ActivateError>;

    /// The driver has reset the device, whose work has ended: back to the state at power-on, as far
    /// as the driver can see it.
    fn reset(&self) {}

    /// The memory that it brings along beside RAM, at the address and in the slot that it has: the machine
    /// maps it, and devices reach it as they do RAM.
    fn memory(&self) -> Option<&GuestRam> {
        None
    }

    /// The machine is reset, and the device has been, by [`reset`](Self::reset): what a driver's reset leaves
    /// as it is goes back to the state at power-on too. No vCPU and no engine runs.
    fn power_on(&self) {}

    /// The machine is about to end: whatever the device waits for, such as the answer of another process,
    /// is waited for no longer than a second from now on. Any thread may call it; it must not wait.
    fn abandon(&self) {}

    /// The machine has ended: lets go of what others find on the host, the file of a socket for
    /// instance. Its work has ended before.
    fn close(&self) {}

    /// How it is and what it has done, for people and metrics: a value that is a counter or a gauge
    /// becomes one there. Any thread may ask; it must not wait.
    fn inspect(&self) -> Tree {
        Tree::new()
    }

    /// How its own state is saved, besides its transport's and its queues'; `None` where it has none. Called
    /// at rest; a restore comes before an activation.
    fn state(&self) -> Option<&dyn SaveState> {
        None
    }

    /// State that a guest would miss after a restore: something that neither [`state`](Self::state), nor the queues
    /// nor RAM hold. `None` where nothing is, and a machine that has it can be saved.
    fn unsaved(&self) -> Option<&'static str> {
        None
    }
}

/// A device at work. Dropping it ends the work, and waits for that.
pub trait Active: Send {
    /// Begins to come to rest; see [`Engine::quiesce`]. It does not wait.
    fn pause(&mut self);
    /// Waits for the rest that `pause` began.
    fn wait_paused(&mut self);
    /// The same, until `deadline` at most; whether it rests. [`resume`](Self::resume) revokes a pause that is
    /// still under way.
    fn wait_paused_until(&mut self, deadline: Instant) -> bool {
        let _ = deadline;
        self.wait_paused();
        true
    }
    /// Works again.
    fn resume(&mut self);
    /// Lets go of a queue, which the driver resets (virtio 1.2, section 2.6.1).
    fn disable_queue(&mut self, index: u16);
    /// Takes a queue that the driver enabled again.
    fn enable_queue(&mut self, queue: Queue);
    /// Where each queue is. Called at rest.
    fn queue_states(&mut self) -> Vec<(u16, QueueState)>;
}

/// Why a device cannot work.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ActivateError {
    /// A queue that the device cannot do without is not enabled.
    #[error("queue {0} is not enabled")]
    MissingQueue(u16),
    /// The host refused something.
    #[error("{what}: {source}")]
    Host {
        /// The request.
        what: &'static str,
        /// Its reason.
        #[source]
        source: io::Error,
    },
    /// The back end of the device refused something.
    #[error("{}", error_line(&**.0))]
    BackEnd(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The set-up of a driver that is ready.
#[derive(Debug)]
#[non_exhaustive]
pub struct Activation {
    /// The device's name in the machine: `blk0`.
    pub name: Arc<str>,
    /// The features that the driver took.
    pub features: u64,
    /// The guest's RAM.
    pub ram: GuestRam,
    /// The queues that it enabled.
    pub queues: Queues,
    /// Tells the driver that the device cannot go on.
    pub fault: Arc<Fault>,
    /// The threads of the machine's devices.
    pub threads: DeviceThreads,
}

impl Activation {
    /// Runs one engine with all queues on the thread that devices share which have little to do: see
    /// [`DeviceThreads`].
    ///
    /// # Errors
    /// [`ActivateError::Host`] where the host has no thread or descriptor left.
    pub fn on_shared_thread(
        self,
        engine: Box<dyn Engine>,
    ) -> Result<Box<dyn Active>, ActivateError> {
        let indices = self.queues.indices();
        let mut workers = Workers::default();
        workers
            .share(self.threads, engine, indices, self.queues, self.fault)
            .map_err(no_thread)?;
        Ok(Box::new(workers))
    }

    /// Runs one engine with all queues on a thread of its own, `virtio-NAME`.
    ///
    /// # Errors
    /// [`ActivateError::Host`] where the host has no thread or descriptor left.
    pub fn on_one_thread(self, engine: Box<dyn Engine>) -> Result<Box<dyn Active>, ActivateError> {
        let indices = self.queues.indices();
        self.on_threads(vec![(indices, engine)])
    }

    /// Runs each engine on a thread of its own, with the queues of the numbers that stand with it:
    /// `virtio-NAME`, and `virtio-NAME.1` and so on. Also queues that are not enabled now may be
    /// named: after the reset of a queue they come to the engine that is named here.
    ///
    /// # Errors
    /// [`ActivateError::Host`] where the host has no thread or descriptor left.
    pub fn on_threads(
        mut self,
        engines: Vec<(Vec<u16>, Box<dyn Engine>)>,
    ) -> Result<Box<dyn Active>, ActivateError> {
        let mut workers = Workers::default();
        for (number, (indices, engine)) in engines.into_iter().enumerate() {
            let mut queues = Queues::default();
            for index in &indices {
                if let Some(queue) = self.queues.remove(*index) {
                    queues.insert(queue);
                }
            }
            let name = match number {
                0 => format!("virtio-{}", self.name),
                _ => format!("virtio-{}.{number}", self.name),
            };
            workers
                .spawn(
                    self.threads.spec(&name),
                    engine,
                    indices,
                    queues,
                    self.fault.clone(),
                )
                .map_err(no_thread)?;
        }
        Ok(Box::new(workers))
    }
}

fn no_thread(source: io::Error) -> ActivateError {
    ActivateError::Host {
        what: "starting a thread",
        source,
    }
}

/// Tells the driver that the configuration space has changed: the resize of a disk, the size that a
/// balloon should have. Any thread may call it.
#[derive(Clone)]
pub struct ConfigChange {
    pub(crate) generation: Arc<Mutex<u32>>,
    pub(crate) interrupts: Arc<dyn Interrupts>,
}

impl ConfigChange {
    /// Call it after the change of a field that the driver reads by one access.
    pub fn notify(&self) {
        self.apply(|| {});
    }

    /// Makes a change, which must not wait: a driver that reads a field of 64 bits in two halves finds
    /// that the generation is another one after it if it is between them (virtio 1.2 section 2.5.1).
    pub fn apply(&self, change: impl FnOnce()) {
        let mut generation = self.generation.lock();
        change();
        *generation = generation.wrapping_add(1);
        drop(generation);
        self.interrupts.configuration();
    }
}

impl fmt::Debug for ConfigChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigChange")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}
