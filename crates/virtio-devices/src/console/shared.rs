//! State shared by the device, its engine and the VMM.

use std::io;

use parking_lot::{Mutex, MutexGuard};
use vmmkit_host_io::EventFd;
use vmmkit_virtio::ConfigChange;

use super::control::PortControl;
use super::wire::Wire;
use super::{ConsoleCounters, Port};

/// The ports.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) control: PortControl,
    pub(super) wires: Vec<Wire>,
    /// Bytes of each port's next chain of output that its reader has taken. The chain itself is in
    /// the queue: nothing is under way between two calls of the engine.
    pub(super) taken: Vec<u64>,
    pub(super) counters: ConsoleCounters,
}

impl Core {
    /// The guest's side as at power-on; the host's ends stay.
    pub(super) fn reset(&mut self) {
        self.control.reset();
        self.taken.fill(0);
    }

    pub(super) fn counters(&self) -> ConsoleCounters {
        let sum = |of: fn(&Wire) -> u64| self.wires.iter().map(of).sum();
        ConsoleCounters {
            dropped_bytes: sum(|wire| wire.dropped),
            clients: sum(|wire| wire.clients),
            ..self.counters
        }
    }
}

/// The shared state. `change` and `core` are not held together.
#[derive(Debug)]
pub(super) struct Shared {
    core: Mutex<Core>,
    change: Mutex<Option<ConfigChange>>,
    /// Wakes the engine for messages and bytes that did not come from it.
    pub(super) wake: EventFd,
}

impl Shared {
    pub(super) fn new(ports: Vec<Port>) -> io::Result<Self> {
        let names = ports
            .iter()
            .map(|port| (port.name.clone(), port.is_console));
        let mut control = PortControl::new(names);
        let wires: Vec<_> = ports.into_iter().map(|port| port.wire).collect();
        for (port, wire) in wires.iter().enumerate() {
            control.set_connected(port, wire.is_connected());
        }
        Ok(Self {
            core: Mutex::new(Core {
                control,
                taken: vec![0; wires.len()],
                wires,
                counters: ConsoleCounters::default(),
            }),
            change: Mutex::default(),
            wake: EventFd::new()?,
        })
    }

    /// The ports. Nobody waits for a reader or the guest while he holds them.
    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        // What a panic may leave is a byte too few or too many.
        self.core.lock()
    }

    pub(super) fn connect(&self, change: ConfigChange) {
        *self.change() = Some(change);
    }

    pub(super) fn resize(&self, columns: u16, rows: u16) {
        self.lock().control.resize(columns, rows);
        self.wake.notify();
        self.tell_size();
    }

    /// Tells the driver to look at the configuration.
    pub(super) fn tell_size(&self) {
        let change = self.change().clone();
        if let Some(change) = change {
            change.notify();
        }
    }

    /// Writes a character to the first port, whatever the driver's state.
    pub(super) fn write_now(&self, byte: u8) {
        let mut core = self.lock();
        core.counters.emergency_bytes += 1;
        let is_out = core
            .wires
            .first_mut()
            .is_none_or(|wire| wire.write_now(byte));
        drop(core);
        if !is_out {
            self.wake.notify();
        }
    }

    fn change(&self) -> MutexGuard<'_, Option<ConfigChange>> {
        self.change.lock()
    }
}
