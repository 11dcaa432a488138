//! The host bridge: what a kernel looks for to believe that there is PCI.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use vmmkit_device_bus::Lifecycle;

use crate::spec::class;
use crate::{ConfigSpace, Identity, PciFunction};

/// The generic host bridge of Red Hat, for which no kernel has a quirk.
const IDENTITY: Identity = Identity {
    vendor: 0x1b36,
    device: 0x0008,
    revision: 0,
    class: class::HOST_BRIDGE,
    subsystem_vendor: 0x1af4,
    subsystem: 0x1100,
};

/// A host bridge without registers of its own: plug it first, as device 0.
pub struct HostBridge(Mutex<ConfigSpace>);

impl HostBridge {
    /// Its name on the bus.
    pub const NAME: &'static str = "pci host bridge";

    /// A bridge.
    pub fn new() -> Self {
        Self(Mutex::new(ConfigSpace::new(&IDENTITY)))
    }
}

impl Default for HostBridge {
    fn default() -> Self {
        Self::new()
    }
}

impl PciFunction for HostBridge {
    fn name(&self) -> Arc<str> {
        Self::NAME.into()
    }

    fn config(&self) -> &Mutex<ConfigSpace> {
        &self.0
    }
}

impl Lifecycle for HostBridge {
    fn reset(&self) {
        self.0.lock().reset();
    }
}

impl fmt::Debug for HostBridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostBridge").finish_non_exhaustive()
    }
}
