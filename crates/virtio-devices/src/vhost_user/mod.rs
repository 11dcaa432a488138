//! Devices that another process serves: the front end of vhost-user.
//!
//! The other process, the back end, has the queues and the guest's RAM, so that no request passes
//! through here: kicks go to it, and what it raises goes to the driver by a thread of this process,
//! which knows the transport. What is left to do here is the protocol: what the back end can do, where
//! RAM and rings are, start and stop.

mod active;
mod back_end;
mod blk;
mod config;
mod connection;
mod error;
mod forward;
mod fs;
mod line;
mod message;
mod net;
mod other;
mod requests;
mod rings;
mod spec;
mod work;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use vmmkit_guest_memory::GuestRam;
use vmmkit_telemetry::Tree;
use vmmkit_virtio::spec::feature;
use vmmkit_virtio::{ActivateError, Activation, Active, ConfigChange, Device, DeviceKind};

use active::VhostUserActive;
use back_end::BackEnd;
use config::Config;
pub use error::VhostUserError;
pub use other::VhostUserDevice;

/// The most queues of a kind; the protocol names 256 at most ("VHOST_USER_SET_VRING_KICK").
const MAX_QUEUES: u16 = 64;

/// A device whose back end is another process: [`fs`](Self::fs), [`blk`](Self::blk),
/// [`net`](Self::net), or [any other](Self::device).
///
/// It is connected when it is made. A back end that ends, hangs up or does not keep the protocol is
/// looked for again once a second for as long as a driver runs the device, and the transport tells of
/// its loss and of its return ([`TransportEvent`](vmmkit_virtio::TransportEvent)); what the driver asks
/// for waits. One that takes its place must offer the same features and the same configuration. It goes
/// on behind what was used, and so does again what was under way. The guest's RAM must be shared ([`check_ram`](Self::check_ram)). What the back
/// end writes there is not in the dirty log.
///
/// A driver's vCPU waits for the back end's answers while it starts, resets or configures the device,
/// for 10 seconds each time at most; then the back end is lost. So does whoever resumes it after a pause, for
/// 1.5 seconds.
///
/// ```no_run
/// use std::path::Path;
/// use vmmkit_virtio_devices::VhostUser;
///
/// // virtiofsd --socket-path=fs.sock --shared-dir=/srv
/// let device = VhostUser::fs(Path::new("fs.sock"), "srv")?;
/// // In the guest: mount -t virtiofs srv /mnt
/// # Ok::<(), vmmkit_virtio_devices::VhostUserError>(())
/// ```
#[derive(Debug)]
pub struct VhostUser {
    // Fixed at creation.
    kind: DeviceKind,
    features: u64,
    queue_features: u64,
    queue_sizes: Vec<u16>,
    // Wiring.
    back_end: Arc<BackEnd>,
    // What the guest can see.
    config: Arc<Config>,
}

impl VhostUser {
    /// Whether another process can map `ram`, as a back end must. Ask before the guest starts: its
    /// driver finds it out too, but too late.
    ///
    /// # Errors
    /// [`VhostUserError::PrivateRam`].
    pub fn check_ram(ram: &GuestRam) -> Result<(), VhostUserError> {
        rings::shared_regions(ram).map(drop)
    }

    /// The socket of the back end.
    pub fn socket(&self) -> &Path {
        self.back_end.path()
    }

    /// A device with what of `features` the back end has.
    ///
    /// # Errors
    /// [`VhostUserError::Queues`] where the back end has too few.
    fn new(
        kind: DeviceKind,
        back_end: BackEnd,
        features: u64,
        queue_sizes: Vec<u16>,
        config: Config,
    ) -> Result<Self, VhostUserError> {
        let wanted = u16::try_from(queue_sizes.len()).unwrap_or(u16::MAX);
        if let Some(most) = back_end.queue_count()?
            && most < u64::from(wanted)
        {
            return Err(VhostUserError::Queues {
                path: back_end.path().into(),
                most,
                wanted,
            });
        }
        Ok(Self {
            kind,
            features: features & back_end.features(),
            // How far a packed queue is does not lie in RAM, where it is looked for when the back end
            // is gone.
            queue_features: back_end.features() & !feature::RING_PACKED,
            queue_sizes,
            back_end: Arc::new(back_end),
            config: Arc::new(config),
        })
    }
}

impl Device for VhostUser {
    /// The protocol's messages for that (VHOST_USER_PROTOCOL_F_DEVICE_STATE) are not used.
    fn unsaved(&self) -> Option<&'static str> {
        Some("its back end, another process, has state of its own")
    }

    fn kind(&self) -> DeviceKind {
        self.kind
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn queue_features(&self) -> u64 {
        self.queue_features
    }

    fn inspect(&self) -> Tree {
        Tree::new().text("back_end", self.back_end.path().display().to_string())
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        self.config.read(offset, bytes);
    }

    fn write_config(&self, offset: usize, bytes: &[u8]) {
        self.config.write(&self.back_end, offset, bytes);
    }

    fn connect(&self, change: ConfigChange) {
        self.config.connect(change);
    }

    fn abandon(&self) {
        self.back_end.abandon();
    }

    fn activate(&self, activation: Activation) -> Result<Box<dyn Active>, ActivateError> {
        let (back_end, config) = (self.back_end.clone(), self.config.clone());
        Ok(Box::new(VhostUserActive::start(
            back_end, config, activation,
        )?))
    }
}
