//! Constants of the console (virtio 1.2, section 5.3).

/// Input of port 0; output follows it (5.3.2).
pub(super) const RECEIVE_0: u16 = 0;
/// Output of port 0 (5.3.2).
pub(super) const TRANSMIT_0: u16 = 1;
/// Control messages of the device (5.3.2).
pub(super) const CONTROL_RECEIVE: u16 = 2;
/// Control messages of the driver (5.3.2).
pub(super) const CONTROL_TRANSMIT: u16 = 3;

/// The configuration has the console's size (5.3.3).
pub(super) const F_SIZE: u64 = 1 << 0;
/// There are more ports, and control queues (5.3.3).
pub(super) const F_MULTIPORT: u64 = 1 << 1;
/// The driver may write single characters to the configuration (5.3.3).
pub(super) const F_EMERG_WRITE: u64 = 1 << 2;

/// le32: the most ports that there can be; le16 columns and rows come first (5.3.4).
pub(super) const CONFIG_MAX_NR_PORTS: usize = 4;
/// le32: a character to write (5.3.4).
pub(super) const CONFIG_EMERG_WR: usize = 8;
/// Bytes of the configuration (5.3.4).
pub(super) const CONFIG_SIZE: usize = 12;

/// Bytes of a control message: port (le32), event and value (le16) (5.3.6.2).
pub(super) const CONTROL_SIZE: usize = 8;

/// Events of control messages (5.3.6.2).
pub(super) mod event {
    /// By the driver: it is ready to be told of ports.
    pub(crate) const DEVICE_READY: u16 = 0;
    /// By the device: there is a port.
    pub(crate) const DEVICE_ADD: u16 = 1;
    /// By the driver: it is ready for the port.
    pub(crate) const PORT_READY: u16 = 3;
    /// By the device: the port is a console.
    pub(crate) const CONSOLE_PORT: u16 = 4;
    /// By the device: the console's size, which follows.
    pub(crate) const RESIZE: u16 = 5;
    /// By both: whether something is at the port.
    pub(crate) const PORT_OPEN: u16 = 6;
    /// By the device: the port's name, which follows.
    pub(crate) const PORT_NAME: u16 = 7;
}
