//! The network device (virtio 1.2, section 5.1).

use std::path::Path;

use vmmkit_virtio::DeviceKind;

use super::back_end::BackEnd;
use super::config::Config;
use super::spec::net::{F_MAC, FEATURES};
use super::{VhostUser, VhostUserError};

/// Entries of the receive queue and of the transmit queue.
const QUEUE_SIZE: u16 = 256;

impl VhostUser {
    /// A network card with the address `mac` whose other end is a process at `socket`, such as passt
    /// or a DPDK switch: one pair of queues, and no control queue.
    ///
    /// # Errors
    /// [`VhostUserError`] names the socket, and the next step.
    pub fn net(socket: &Path, mac: [u8; 6]) -> Result<Self, VhostUserError> {
        let kind = DeviceKind::NETWORK;
        let back_end = BackEnd::connect(socket, kind)?;
        let config = Config::constant(mac.to_vec());
        let sizes = vec![QUEUE_SIZE; 2];
        let mut device = Self::new(kind, back_end, FEATURES, sizes, config)?;
        // The address is a matter of the driver's alone.
        device.features |= F_MAC;
        Ok(device)
    }
}
