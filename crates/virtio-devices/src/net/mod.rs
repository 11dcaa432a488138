//! The network device (section 5.1): a network interface of the guest's, by a tap interface of the
//! host's, or by passt without any privilege.
//!
//! Each pair of queues has a thread. Over a tap interface a packet goes between the host's kernel
//! and the guest's buffers without a copy in this process, and with the offloads that the driver
//! took: checksums, and TCP segments of up to 64 KiB.

mod backend;
mod config;
mod control;
mod engine;
mod gathered;
mod header;
mod line;
mod receive;
mod spec;
mod state;
mod stats;
mod transmit;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use vmmkit_device_bus::SaveState;
use vmmkit_telemetry::Tree;
use vmmkit_virtio::{ActivateError, Activation, Active, ConfigChange, Device, DeviceKind, Engine};

pub use backend::NetBackend;
pub use config::{MAX_QUEUE_PAIRS, NetAttachment, NetConfig, NetError, NetOptions};
pub use control::ControlCommand;
pub use header::PacketHeader;
pub use stats::{NetFlow, NetStats};

use crate::{RateLimiter, Throttle};
use control::Control;
use engine::{BATCH, Halt, PairEngine};
use line::Shared;
use receive::Receiver;
use spec::feature;
use state::NetForm;
use transmit::Transmitter;

/// Entries of each receive and transmit queue.
const QUEUE_SIZE: u16 = 256;
/// Entries of the control queue.
const CONTROL_SIZE: u16 = 64;

/// A network interface of the guest's.
///
/// Any thread may change link and limits while the device works, and read what went through.
pub struct Net {
    // Fixed at creation
    features: u64,
    queue_sizes: Vec<u16>,
    receive_limit: RateLimiter,
    transmit_limit: RateLimiter,
    // Wiring
    shared: Arc<Shared>,
    host_mtu: Option<u16>,
    // What the guest can see
    identity: Mutex<Identity>,
    /// The restored state, until the next activation.
    restored: Mutex<Option<NetForm>>,
}

#[derive(Clone, Copy)]
struct Identity {
    mac: [u8; 6],
    mtu: Option<u16>,
}

impl Net {
    /// A device that is attached as `config` says: the interface is open, the socket connected.
    ///
    /// # Errors
    /// [`NetError`]: what cannot be had, and why.
    pub fn new(config: &NetConfig) -> Result<Self, NetError> {
        let mut options = config.options.clone();
        let wanted = options.mtu.filter(|mtu| *mtu >= spec::MIN_MTU);
        let (backends, host_mtu) = config.attachment.open(options.queue_pairs, wanted)?;
        options.mtu = options.mtu.or(host_mtu);
        let net = Self::with_backends(backends, &options)?;
        Ok(Self { host_mtu, ..net })
    }

    /// The MTU of the interface that it is attached to, in bytes; `None` where that has none. Packets
    /// between it and the guest's, where the two differ, are lost.
    pub fn host_mtu(&self) -> Option<u16> {
        self.host_mtu
    }

    /// The MTU that the guest is told, in bytes.
    pub fn mtu(&self) -> Option<u16> {
        self.identity.lock().mtu
    }

    /// Has `tell` called with the reason when the back end comes to its end: the interface was deleted,
    /// the process at the other end of a socket is gone. The link is then down for good. The first one
    /// stays.
    pub fn on_lost(&self, tell: impl Fn(&str) + Send + Sync + 'static) {
        self.shared.on_lost(Box::new(tell));
    }

    /// A device over back ends of the caller's, one for each pair of queues, whatever
    /// [`NetOptions::queue_pairs`] says.
    ///
    /// # Errors
    /// [`NetError`].
    pub fn with_backends(
        backends: Vec<Box<dyn NetBackend>>,
        options: &NetOptions,
    ) -> Result<Self, NetError> {
        let pairs = u16::try_from(backends.len()).unwrap_or(u16::MAX);
        config::check_pairs(pairs, MAX_QUEUE_PAIRS)?;
        if let Some(mtu) = options.mtu.filter(|mtu| *mtu < spec::MIN_MTU) {
            return Err(NetError::Mtu(mtu));
        }
        let mac = options.address()?;
        let mut queue_sizes = vec![QUEUE_SIZE; 2 * usize::from(pairs)];
        queue_sizes.push(CONTROL_SIZE);
        let offloads = backends.first().map_or(0, |backend| backend.features());
        let shared = Shared::new(backends);
        shared.set_pairs(1).map_err(|source| NetError::Backend {
            what: "detach the queues of all pairs but the first",
            source,
        })?;
        Ok(Self {
            features: features(offloads, pairs, options.mtu),
            queue_sizes,
            receive_limit: RateLimiter::new(options.rate_rx),
            transmit_limit: RateLimiter::new(options.rate_tx),
            shared: Arc::new(shared),
            host_mtu: None,
            identity: Mutex::new(Identity {
                mac,
                mtu: options.mtu,
            }),
            restored: Mutex::default(),
        })
    }

    /// The address.
    pub fn mac(&self) -> [u8; 6] {
        self.identity.lock().mac
    }

    /// Plugs the cable in or out: the guest sees its link go up or down. While it is down, packets
    /// of both directions are dropped.
    pub fn set_link(&self, is_up: bool) {
        self.shared.set_plugged(is_up);
    }

    /// Whether the link is up: plugged in, and with a back end that lives.
    pub fn is_link_up(&self) -> bool {
        self.shared.is_up()
    }

    /// The reason the back end ended, if it did: passt is gone, the interface was deleted. The
    /// guest's link is down then.
    pub fn lost(&self) -> Option<String> {
        self.shared.lost()
    }

    /// The traffic so far.
    pub fn stats(&self) -> NetStats {
        self.shared.stats()
    }

    /// The limits of what the guest receives.
    pub fn receive_limit(&self) -> &RateLimiter {
        &self.receive_limit
    }

    /// The limits of what the guest transmits.
    pub fn transmit_limit(&self) -> &RateLimiter {
        &self.transmit_limit
    }

    fn engine(
        &self,
        pair: usize,
        features: u64,
        control: Option<Control>,
    ) -> Result<Box<dyn Engine>, ActivateError> {
        let throttle = |limiter| {
            Throttle::new(limiter).map_err(|source| ActivateError::Host {
                what: "making a timer",
                source,
            })
        };
        Ok(Box::new(PairEngine::new(
            pair,
            self.shared.clone(),
            Receiver::new(features, throttle(&self.receive_limit)?),
            Transmitter::new(throttle(&self.transmit_limit)?),
            control,
        )))
    }
}

fn features(offloads: u64, pairs: u16, mtu: Option<u16>) -> u64 {
    let mut features = feature::MAC | feature::STATUS | feature::MRG_RXBUF | feature::CTRL_VQ;
    features |= offloads & (feature::GUEST_OFFLOADS | feature::HOST_OFFLOADS);
    for (has, bit) in [
        (mtu.is_some(), feature::MTU),
        (pairs > 1, feature::MQ),
        (
            offloads & feature::GUEST_OFFLOADS != 0,
            feature::CTRL_GUEST_OFFLOADS,
        ),
    ] {
        features |= if has { bit } else { 0 };
    }
    features
}

impl Device for Net {
    fn kind(&self) -> DeviceKind {
        DeviceKind::NETWORK
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        let Identity { mac, mtu } = *self.identity.lock();
        let [a, b, c, d, e, f] = mac;
        let status = if self.shared.is_up() {
            spec::S_LINK_UP
        } else {
            0
        };
        let [status, status_high] = status.to_le_bytes();
        let [pairs, pairs_high] = (self.shared.lines.len() as u16).to_le_bytes();
        let [mtu, mtu_high] = mtu.unwrap_or(0).to_le_bytes();
        let config: [u8; spec::CONFIG_LENGTH] = [
            a,
            b,
            c,
            d,
            e,
            f,
            status,
            status_high,
            pairs,
            pairs_high,
            mtu,
            mtu_high,
        ];
        let rest = config.get(offset..).unwrap_or_default();
        for (byte, value) in bytes.iter_mut().zip(rest) {
            *byte = *value;
        }
    }

    fn inspect(&self) -> Tree {
        let [a, b, c, d, e, f] = self.mac();
        let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
        let stats = self.stats();
        let tree = Tree::new()
            .text("mac", mac)
            .gauge("link_up", u64::from(self.is_link_up()))
            .tree("received", stats.received.tree())
            .tree("transmitted", stats.transmitted.tree());
        match self.lost() {
            Some(reason) => tree.text("lost", reason),
            None => tree,
        }
    }

    fn connect(&self, change: ConfigChange) {
        self.shared.connect(change);
    }

    fn activate(&self, activation: Activation) -> Result<Box<dyn Active>, ActivateError> {
        let features = activation.features;
        let restored = self.restored.lock().take();
        // Without MQ the first pair is all that there is, and the control queue follows (5.1.2).
        let pairs = match features & feature::MQ {
            0 => 1,
            _ => self.shared.lines.len() as u16,
        };
        let refused = |what| move |source| ActivateError::Host { what, source };
        let offloads = restored.map_or(features, |saved| saved.offloads & features);
        self.shared
            .set_offloads(offloads)
            .map_err(refused("setting the offloads of the network"))?;
        let used = restored.map_or(1, |saved| saved.pairs.clamp(1, pairs));
        self.shared
            .set_pairs(used)
            .map_err(refused("attaching queues of the network"))?;
        let mut engines = Vec::new();
        for pair in 0..pairs {
            let mut queues = vec![2 * pair, 2 * pair + 1];
            let has_control = pair == 0 && features & feature::CTRL_VQ != 0;
            let control = has_control.then(|| Control::new(2 * pairs, features));
            queues.extend(control.as_ref().map(|control| control.queue));
            if let Some(line) = self.shared.lines.get(usize::from(pair)) {
                let queue = activation
                    .queues
                    .iter()
                    .find(|queue| queue.index() == 2 * pair);
                line.set_wake(queue.map(|queue| queue.kick().clone()));
            }
            engines.push((queues, self.engine(usize::from(pair), features, control)?));
        }
        activation.on_threads(engines)
    }

    fn reset(&self) {
        *self.restored.lock() = None;
    }

    fn state(&self) -> Option<&dyn SaveState> {
        Some(self)
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net")
            .field("mac", &config::mac(&self.mac()))
            .field("pairs", &self.shared.lines.len())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
