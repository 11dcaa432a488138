//! The other process: what it can do, and what it is told.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use vmmkit_host_io::{Deadline, FdSocket};
use vmmkit_virtio::DeviceKind;
use vmmkit_virtio::spec::feature;

use super::connection::{Connection, Link};
use super::error::VhostUserError;
use super::message;
use super::spec::{self, protocol};

/// How long a back end may take for all the answers of one piece of work: to be connected, set up or
/// stopped. GET_VRING_BASE is the slowest: some finish what is under way before it.
pub(super) const LIMIT: Duration = Duration::from_secs(10);
/// The same once the machine has ended.
/// How long it may take where somebody waits for the guest to run on, as long as a pause may take.
pub(super) const RESUME_LIMIT: Duration = Duration::from_millis(1500);
/// The rest of it when the machine has ended.
const LAST_LIMIT: Duration = Duration::from_millis(500);
/// Protocol features that are taken where they are offered.
const TAKEN: u64 = protocol::MQ | protocol::REPLY_ACK | protocol::CONFIG | protocol::BACKEND_REQ;

/// A process that serves a device. Any thread may call it, and waits while another one does.
#[derive(Debug)]
pub(super) struct BackEnd {
    path: PathBuf,
    offer: Offer,
    link: Mutex<Link>,
    /// Until when the answers of what is under way are waited for.
    deadline: Deadline,
    /// The machine has ended.
    is_abandoned: AtomicBool,
}

/// The abilities that a back end offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Offer {
    features: u64,
    protocol: u64,
}

impl BackEnd {
    /// Connects to a back end at `path`.
    pub(super) fn connect(path: &Path, kind: DeviceKind) -> Result<Self, VhostUserError> {
        let deadline = Deadline::after(LIMIT);
        let mut link = link(path, &deadline).map_err(|source| VhostUserError::Connect {
            path: path.into(),
            source,
        })?;
        let offer = negotiate(&mut Connection::new(path, &deadline, &mut link))?;
        let back_end = Self {
            path: path.into(),
            offer,
            link: Mutex::new(link),
            deadline,
            is_abandoned: AtomicBool::new(false),
        };
        if back_end.features() & feature::VERSION_1 == 0 {
            return Err(back_end.lacks("VIRTIO_F_VERSION_1 (virtio 1.0)", kind));
        }
        Ok(back_end)
    }

    /// Connects again to whoever is there now, in place of one that is gone.
    ///
    /// # Errors
    /// [`VhostUserError::Changed`] where it does not offer the same.
    pub(super) fn reconnect(&self) -> Result<(), VhostUserError> {
        let gone = |source| VhostUserError::Broken {
            path: self.path.clone(),
            request: "the connection",
            source,
        };
        let mut new = link(&self.path, &self.deadline).map_err(gone)?;
        let offer = negotiate(&mut self.connection(&mut new))?;
        let lacks = self.offer.features & !offer.features;
        if lacks != 0 || offer.protocol != self.offer.protocol {
            return Err(VhostUserError::Changed {
                path: self.path.clone(),
                found: format!(
                    "features {:#x} and protocol features {:#x} instead of {:#x} and {:#x}",
                    offer.features, offer.protocol, self.offer.features, self.offer.protocol
                ),
            });
        }
        *self.lock() = new;
        Ok(())
    }

    /// Allows [`LIMIT`] in all for the following requests.
    pub(super) fn allow(&self) {
        self.allow_for(LIMIT);
    }

    /// Allows `limit` in all for the following requests.
    pub(super) fn allow_for(&self, limit: Duration) {
        // The end is never put off again.
        if !self.is_abandoned.load(Ordering::SeqCst) {
            self.deadline.set_after(limit);
        }
    }

    /// Allows [`RESUME_LIMIT`] from now on for the requests under way.
    pub(super) fn hurry(&self) {
        self.deadline.shorten_to(RESUME_LIMIT);
    }

    /// The machine has ended: what is under way may take half a second more.
    pub(super) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::SeqCst);
        self.deadline.shorten_to(LAST_LIMIT);
    }

    /// Nobody waits for what is under way any more.
    pub(super) fn give_up(&self) {
        self.deadline.shorten_to(Duration::ZERO);
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The features of the device, and of the queues.
    pub(super) fn features(&self) -> u64 {
        self.offer.features
    }

    /// The connection: hung up when the back end is gone; and that by which it sends requests, if it
    /// does.
    pub(super) fn sockets(&self) -> (Arc<FdSocket>, Option<Arc<FdSocket>>) {
        let link = self.lock();
        (link.socket.clone(), link.requests.clone())
    }

    /// Ends the connection: a back end that does not do what it is told then ends its work, it may be
    /// hoped.
    pub(super) fn hang_up(&self) {
        let mut link = self.lock();
        link.is_gone = true;
        link.socket.hang_up();
    }

    /// Whether the connection has ended, as far as is known.
    pub(super) fn is_gone(&self) -> bool {
        self.lock().is_gone
    }

    pub(super) fn lacks(&self, feature: &'static str, kind: DeviceKind) -> VhostUserError {
        VhostUserError::Lacks {
            path: self.path.clone(),
            feature,
            kind,
        }
    }

    /// How many queues it serves; `None` where it does not say.
    pub(super) fn queue_count(&self) -> Result<Option<u64>, VhostUserError> {
        if self.offer.protocol & protocol::MQ == 0 {
            return Ok(None);
        }
        self.with(|back_end| back_end.ask_u64(spec::GET_QUEUE_NUM).map(Some))
    }

    /// Whether it has the configuration space.
    pub(super) fn has_config(&self) -> bool {
        self.offer.protocol & protocol::CONFIG != 0
    }

    /// The first `length` bytes of the configuration.
    pub(super) fn config(&self, length: usize) -> Result<Vec<u8>, VhostUserError> {
        let mut answer = vec![0; message::CONFIG_HEADER + length];
        let wanted = message::config(0, &vec![0; length]);
        self.with(|back_end| {
            let request = spec::GET_CONFIG;
            let size = back_end.ask(request, &wanted, &mut answer)?;
            // An answer without contents is a refusal ("VHOST_USER_GET_CONFIG").
            if size <= message::CONFIG_HEADER {
                return Err(back_end.refused(request));
            }
            if size != answer.len() {
                return Err(back_end.odd(request, format!("{size} bytes")));
            }
            Ok(answer.split_off(message::CONFIG_HEADER))
        })
    }

    /// Writes `bytes` at `offset` of the configuration.
    pub(super) fn set_config(&self, offset: usize, bytes: &[u8]) -> Result<(), VhostUserError> {
        let payload = message::config(offset, bytes);
        self.with(|back_end| back_end.tell(spec::SET_CONFIG, &payload, &[]))
    }

    /// Speaks with it, and nobody else does meanwhile.
    pub(super) fn with<T>(
        &self,
        f: impl FnOnce(&mut Connection<'_>) -> Result<T, VhostUserError>,
    ) -> Result<T, VhostUserError> {
        f(&mut self.connection(&mut self.lock()))
    }

    fn connection<'a>(&'a self, link: &'a mut Link) -> Connection<'a> {
        Connection::new(&self.path, &self.deadline, link)
    }

    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock()
    }
}

/// A new connection to whoever is at `path`.
fn link(path: &Path, deadline: &Deadline) -> io::Result<Link> {
    Ok(Link {
        socket: Arc::new(FdSocket::connect(path, deadline)?),
        requests: None,
        is_acknowledged: false,
        is_gone: false,
    })
}

/// Agrees with a back end on what both can do; what it can.
fn negotiate(back_end: &mut Connection<'_>) -> Result<Offer, VhostUserError> {
    back_end.tell(spec::SET_OWNER, &[], &[])?;
    let features = back_end.ask_u64(spec::GET_FEATURES)?;
    if features & spec::F_PROTOCOL_FEATURES == 0 {
        return Ok(Offer {
            features,
            protocol: 0,
        });
    }
    let mut protocol = back_end.ask_u64(spec::GET_PROTOCOL_FEATURES)? & TAKEN;
    if protocol & protocol::CONFIG == 0 {
        // The only request that is understood is one about the configuration.
        protocol &= !protocol::BACKEND_REQ;
    }
    back_end.tell_u64(spec::SET_PROTOCOL_FEATURES, protocol)?;
    back_end.acknowledged(protocol & protocol::REPLY_ACK != 0);
    if protocol & protocol::BACKEND_REQ != 0 {
        take_requests(back_end)?;
    }
    Ok(Offer { features, protocol })
}

fn take_requests(back_end: &mut Connection<'_>) -> Result<(), VhostUserError> {
    let request = spec::SET_BACKEND_REQ_FD;
    let (ours, theirs) = FdSocket::pair().map_err(|source| back_end.broken(request, source))?;
    back_end.tell(request, &[], &[theirs.as_fd()])?;
    back_end.take_requests(ours);
    Ok(())
}
