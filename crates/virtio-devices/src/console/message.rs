//! Messages of a driver on the control queue.

use super::spec::{self, event};

/// A message of a driver on the control queue (virtio 1.2, section 5.3.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsoleMessage {
    /// It is ready to be told of ports, or has failed.
    DeviceReady(bool),
    /// It is ready for a port, or has failed to be.
    PortReady {
        /// The port's number, which need not be one.
        port: u32,
        /// Whether it is ready.
        is_ready: bool,
    },
    /// A program of the guest has opened or closed a port.
    PortOpen {
        /// The port's number, which need not be one.
        port: u32,
        /// Whether it is open.
        is_open: bool,
    },
}

impl ConsoleMessage {
    /// The message in `bytes`; `None` for one that is too short or not for a driver to send. What
    /// follows it does not count.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<{ spec::CONTROL_SIZE }>()?;
        let [a, b, c, d, event_low, event_high, value_low, value_high] = *bytes;
        let port = u32::from_le_bytes([a, b, c, d]);
        let is_set = u16::from_le_bytes([value_low, value_high]) != 0;
        match u16::from_le_bytes([event_low, event_high]) {
            event::DEVICE_READY => Some(Self::DeviceReady(is_set)),
            event::PORT_READY => Some(Self::PortReady {
                port,
                is_ready: is_set,
            }),
            event::PORT_OPEN => Some(Self::PortOpen {
                port,
                is_open: is_set,
            }),
            _ => None,
        }
    }
}

/// Puts a control message of the device into `bytes`, in place of what was there.
pub(super) fn encode(bytes: &mut Vec<u8>, port: u32, event: u16, value: u16) {
    bytes.clear();
    bytes.extend(port.to_le_bytes());
    bytes.extend(event.to_le_bytes());
    bytes.extend(value.to_le_bytes());
}
