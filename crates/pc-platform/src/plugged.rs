//! A paravirtual device in its place.

use vmmkit_virtio::Transport;

use crate::PartDevice;

/// A device behind a transport.
pub trait Plugged: PartDevice {
    /// The common part of all transports.
    fn transport(&self) -> &Transport;
}
