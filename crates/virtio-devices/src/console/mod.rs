//! The console (section 5.3): ports by which guest and host exchange bytes. The first is a console,
//! `hvc0` for Linux.
//!
//! No byte is lost either way. Output stays in the guest's buffers until its reader takes it, so that
//! a slow reader slows the guest; input stays at the host until the guest has room for it.

mod backlog;
mod control;
mod engine;
mod message;
mod port;
mod shared;
mod spec;
mod state;
mod watch;
mod wire;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::Arc;

use thiserror::Error;
use vmmkit_device_bus::SaveState;
use vmmkit_telemetry::Tree;
use vmmkit_virtio::{ActivateError, Activation, Active, ConfigChange, Device, DeviceKind};

pub use control::{PendingMessage, PortControl};
use engine::ConsoleEngine;
pub use message::ConsoleMessage;
pub use port::Port;
use shared::Shared;

/// The most ports: what Linux takes.
const MAX_PORTS: usize = 31;
/// The most bytes of a name.
const MAX_NAME: usize = 255;
/// Entries of each queue.
const QUEUE_SIZE: u16 = 64;

/// Why a console cannot be.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConsoleError {
    /// It has no port, or too many.
    #[error("a console of {count} ports: it has 1 to {MAX_PORTS}")]
    Ports {
        /// How many.
        count: usize,
    },
    /// A name is too long, or holds what no name of a file can.
    #[error("the port name {name:?}: it has up to {MAX_NAME} bytes, none of them / or 0")]
    Name {
        /// The name.
        name: String,
    },
    /// The host has no descriptor left.
    #[error("cannot make an event for the console")]
    Host(#[from] io::Error),
}

/// Counts of events, since the device was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsoleCounters {
    /// Bytes that the guest has got rid of.
    pub output_bytes: u64,
    /// Bytes that the guest was given.
    pub input_bytes: u64,
    /// Bytes of output that went nowhere: nobody reads it any more, a disk is full, or too many of
    /// them waited for a client.
    pub dropped_bytes: u64,
    /// Characters that were written by way of the configuration.
    pub emergency_bytes: u64,
    /// Clients of sockets that came.
    pub clients: u64,
    /// Control messages that mean nothing.
    pub ignored_messages: u64,
    /// Buffers for input or control messages that were too small.
    pub small_buffers: u64,
}

/// A console with its ports.
///
/// A single port without a name is offered without MULTIPORT: drivers then have it at once, and learn
/// of its size by the configuration.
///
/// Threads: the one of slow devices reads and writes the ports, without ever waiting for them; vCPUs come
/// for the configuration; [`resize`](Self::resize) may be called from any.
pub struct Console {
    shared: Arc<Shared>,
    features: u64,
    queue_sizes: Vec<u16>,
    ports: u32,
}

impl Console {
    /// A console of these ports, the first of which is `hvc0`.
    ///
    /// # Errors
    /// [`ConsoleError`]: the number of ports or a name cannot be.
    pub fn new(ports: Vec<Port>) -> Result<Self, ConsoleError> {
        let count = ports.len();
        if !(1..=MAX_PORTS).contains(&count) {
            return Err(ConsoleError::Ports { count });
        }
        let is_bad = |name: &str| name.len() > MAX_NAME || name.contains(['/', '\0']);
        if let Some(bad) = ports.iter().find(|port| is_bad(&port.name)) {
            let name = bad.name.clone();
            return Err(ConsoleError::Name { name });
        }
        let has_many = count > 1 || ports.iter().any(|port| !port.name.is_empty());
        let mut features = spec::F_SIZE | spec::F_EMERG_WRITE;
        if has_many {
            features |= spec::F_MULTIPORT;
        }
        // Two for each port, and two for control.
        let queues = if has_many { 2 * count + 2 } else { 2 };
        Ok(Self {
            shared: Arc::new(Shared::new(ports)?),
            features,
            queue_sizes: vec![QUEUE_SIZE; queues],
            ports: u32::try_from(count).unwrap_or(u32::MAX),
        })
    }

    /// The terminal at the first port has another size now, or has a size.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.shared.resize(columns, rows);
    }

    /// The counters.
    pub fn counters(&self) -> ConsoleCounters {
        self.shared.lock().counters()
    }

    fn config(&self) -> [u8; spec::CONFIG_SIZE] {
        let (columns, rows) = self.shared.lock().control.size();
        let [a, b] = columns.to_le_bytes();
        let [c, d] = rows.to_le_bytes();
        let mut config = [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0];
        let ports = self.ports.to_le_bytes();
        for (byte, value) in config.iter_mut().skip(spec::CONFIG_MAX_NR_PORTS).zip(ports) {
            *byte = value;
        }
        config
    }
}

impl Device for Console {
    fn kind(&self) -> DeviceKind {
        DeviceKind::CONSOLE
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn inspect(&self) -> Tree {
        let counters = self.counters();
        let (columns, rows) = self.shared.lock().control.size();
        Tree::new()
            .number("ports", self.ports)
            .number("columns", columns)
            .number("rows", rows)
            .counter("output_bytes", counters.output_bytes)
            .counter("input_bytes", counters.input_bytes)
            .counter("dropped_bytes", counters.dropped_bytes)
            .counter("emergency_bytes", counters.emergency_bytes)
            .counter("clients", counters.clients)
            .counter("ignored_messages", counters.ignored_messages)
            .counter("small_buffers", counters.small_buffers)
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        for (byte, value) in bytes.iter_mut().zip(self.config().iter().skip(offset)) {
            *byte = *value;
        }
    }

    fn write_config(&self, offset: usize, bytes: &[u8]) {
        if let (spec::CONFIG_EMERG_WR, Some(byte)) = (offset, bytes.first()) {
            self.shared.write_now(*byte);
        }
    }

    fn connect(&self, change: ConfigChange) {
        self.shared.connect(change);
    }

    fn activate(&self, activation: Activation) -> Result<Box<dyn Active>, ActivateError> {
        let engine = ConsoleEngine::new(self.shared.clone(), activation.features);
        activation.on_shared_thread(Box::new(engine))
    }

    fn reset(&self) {
        self.shared.lock().reset();
    }

    fn close(&self) {
        for wire in &mut self.shared.lock().wires {
            wire.close();
        }
    }

    fn state(&self) -> Option<&dyn SaveState> {
        Some(self)
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("ports", &self.ports)
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
