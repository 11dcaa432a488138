//! The parts of a machine, as it leads their life.

use std::fmt;
use std::sync::Arc;

use vmmkit_device_bus::{DeviceId, Lifecycle};
use vmmkit_telemetry::{Inspect, Tree};

/// A part of a machine: its name, its life and its state for people.
#[derive(Clone)]
pub struct Part {
    id: DeviceId,
    life: Arc<dyn Lifecycle>,
    state: Option<Arc<dyn Inspect>>,
}

impl Part {
    /// `device`, which is called `name`.
    pub fn new<D: Lifecycle + Inspect + 'static>(name: &str, device: Arc<D>) -> Self {
        Self {
            state: Some(device.clone()),
            ..Self::without_state(name, device)
        }
    }

    /// `device`, which is called `name`; its state is not shown, or shown by others.
    pub fn without_state(name: &str, device: Arc<dyn Lifecycle>) -> Self {
        Self {
            id: DeviceId::new(name),
            life: device,
            state: None,
        }
    }

    /// What it is called.
    pub fn id(&self) -> &DeviceId {
        &self.id
    }

    /// Its life.
    pub fn life(&self) -> &dyn Lifecycle {
        &*self.life
    }

    /// Its state; `None` where that is not shown.
    pub fn inspect(&self) -> Option<Tree> {
        self.state.as_ref().map(|device| device.inspect())
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Part").field(&self.id).finish()
    }
}
