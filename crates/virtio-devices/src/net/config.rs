//! Configuration of a network device.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use vmmkit_host_io::{StreamError, StreamSocket, Tap, TapError, random_bytes};

use super::{NetBackend, spec};
use crate::RateLimit;

/// The most pairs of queues: each has a thread.
pub const MAX_QUEUE_PAIRS: u16 = 64;

/// One back end for each pair of queues.
pub(super) type Backends = Vec<Box<dyn NetBackend>>;

/// How a network device is attached to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetAttachment {
    /// A tap interface, which is made where it is not there (a privilege).
    Tap {
        /// Its name.
        interface: String,
    },
    /// A UNIX stream socket on which passt listens, or another peer of QEMU's `-netdev stream`. It
    /// has one pair of queues, and no offloads.
    ///
    /// passt drops what its socket has no room for, and the guest's TCP then waits for seconds:
    /// `sysctl net.core.wmem_max=4194304` gives it room.
    Stream {
        /// Its path.
        path: PathBuf,
    },
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetConfig {
    /// The host's side.
    pub attachment: NetAttachment,
    /// The options that the guest sees.
    pub options: NetOptions,
}

/// The options of a network device that the guest sees, and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetOptions {
    /// The address; a random one, locally administered, where there is none.
    pub mac: Option<[u8; 6]>,
    /// The largest packet in bytes, without the Ethernet header. Where there is none: that of the
    /// tap interface; with another back end the guest chooses.
    pub mtu: Option<u16>,
    /// Pairs of queues, up to [`MAX_QUEUE_PAIRS`].
    pub queue_pairs: u16,
    /// The limits of what the guest receives.
    pub rate_rx: RateLimit,
    /// The limits of what the guest transmits.
    pub rate_tx: RateLimit,
}

impl Default for NetOptions {
    fn default() -> Self {
        Self {
            mac: None,
            mtu: None,
            queue_pairs: 1,
            rate_rx: RateLimit::default(),
            rate_tx: RateLimit::default(),
        }
    }
}

/// Why there is no network device.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NetError {
    /// The tap interface cannot be had.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// The socket cannot be connected.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// Not the address of one interface.
    #[error("MAC address {}: it must not be zero or a group's, whose first byte is odd", mac(.0))]
    Mac([u8; 6]),
    /// An MTU that may not be.
    #[error("MTU {0}: it must be {least} or more", least = spec::MIN_MTU)]
    Mtu(u16),
    /// A number of queue pairs that cannot be.
    #[error("{given} pairs of queues: it must be 1 to {most}")]
    QueuePairs {
        /// How many were wanted.
        given: u16,
        /// The most there may be.
        most: u16,
    },
    /// The host has no random bytes for an address.
    #[error("cannot choose a random MAC address; name one")]
    Random(#[source] io::Error),
    /// The back end refused something.
    #[error("the network's back end cannot {what}")]
    Backend {
        /// The request.
        what: &'static str,
        /// Its reason.
        #[source]
        source: io::Error,
    },
}

impl NetAttachment {
    /// The back ends of all pairs, and the MTU that they have.
    /// An interface is given the MTU `wanted` where the process may do that.
    pub(super) fn open(
        &self,
        pairs: u16,
        wanted: Option<u16>,
    ) -> Result<(Backends, Option<u16>), NetError> {
        match self {
            Self::Tap { interface } => {
                check_pairs(pairs, MAX_QUEUE_PAIRS)?;
                let taps = Tap::open(interface, pairs)?;
                if let (Some(tap), Some(wanted)) = (taps.first(), wanted)
                    && tap.mtu().is_ok_and(|mtu| mtu != wanted)
                {
                    // Who may not do it finds another one, as `host_mtu` tells.
                    let _ = tap.set_mtu(wanted);
                }
                let mtu = taps.first().and_then(|tap| tap.mtu().ok());
                let boxed = |tap| -> Box<dyn NetBackend> { Box::new(tap) };
                let mtu = mtu.filter(|mtu| *mtu >= spec::MIN_MTU);
                Ok((taps.into_iter().map(boxed).collect(), mtu))
            }
            Self::Stream { path } => {
                check_pairs(pairs, 1)?;
                Ok((vec![Box::new(StreamSocket::connect(path)?)], None))
            }
        }
    }
}

pub(super) fn check_pairs(given: u16, most: u16) -> Result<(), NetError> {
    if (1..=most).contains(&given) {
        return Ok(());
    }
    Err(NetError::QueuePairs { given, most })
}

impl NetOptions {
    /// The address that the device has.
    pub(super) fn address(&self) -> Result<[u8; 6], NetError> {
        if let Some(mac) = self.mac {
            let [first, ..] = mac;
            if mac == [0; 6] || first & 1 != 0 {
                return Err(NetError::Mac(mac));
            }
            return Ok(mac);
        }
        let mut mac: [u8; 6] = random_bytes().map_err(NetError::Random)?;
        let [first, ..] = &mut mac;
        // Locally administered, of one interface (IEEE 802).
        *first = *first & !1 | 2;
        Ok(mac)
    }
}

/// As people write it.
pub(super) fn mac(bytes: &[u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
