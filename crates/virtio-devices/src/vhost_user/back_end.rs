//! The other process: what it can do, and what it is told.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vmmkit_host_io::FdSocket;
use vmmkit_virtio::DeviceKind;
use vmmkit_virtio::spec::feature;

use super::connection::{Connection, State};
use super::error::VhostUserError;
use super::message;
use super::spec::{self, protocol};

/// How long a back end may take for an answer. GET_VRING_BASE is the slowest: some finish what is
/// under way before it.
const LIMIT: Duration = Duration::from_secs(30);
/// Protocol features that are taken where they are offered.
const TAKEN: u64 = protocol::MQ | protocol::REPLY_ACK | protocol::CONFIG | protocol::BACKEND_REQ;

/// A process that serves a device. Any thread may call it, and waits while another one does.
#[derive(Debug)]
pub(super) struct BackEnd {
    path: PathBuf,
    socket: FdSocket,
    /// By it the back end sends requests.
    requests: Option<FdSocket>,
    features: u64,
    protocol: u64,
    state: Mutex<State>,
}

impl BackEnd {
    /// Connects to a back end at `path`, or says that `start` is a command to have one there.
    pub(super) fn connect(
        path: &Path,
        kind: DeviceKind,
        start: String,
    ) -> Result<Self, VhostUserError> {
        let refused = |source| VhostUserError::Connect {
            path: path.into(),
            start,
            source,
        };
        let limited = |socket: FdSocket| socket.set_limit(LIMIT).map(|()| socket);
        let socket = FdSocket::connect(path).and_then(limited).map_err(refused)?;
        let mut back_end = Self {
            path: path.into(),
            socket,
            requests: None,
            features: 0,
            protocol: 0,
            state: Mutex::default(),
        };
        back_end.negotiate()?;
        if back_end.features & feature::VERSION_1 == 0 {
            return Err(back_end.lacks("VIRTIO_F_VERSION_1 (virtio 1.0)", kind));
        }
        Ok(back_end)
    }

    fn negotiate(&mut self) -> Result<(), VhostUserError> {
        self.with(|back_end| back_end.tell(spec::SET_OWNER, &[], &[]))?;
        self.features = self.with(|back_end| back_end.ask_u64(spec::GET_FEATURES))?;
        if self.features & spec::F_PROTOCOL_FEATURES == 0 {
            return Ok(());
        }
        self.protocol = self.with(|back_end| {
            let mut taken = back_end.ask_u64(spec::GET_PROTOCOL_FEATURES)? & TAKEN;
            if taken & protocol::CONFIG == 0 {
                // The only request that is understood is one about the configuration.
                taken &= !protocol::BACKEND_REQ;
            }
            back_end.tell_u64(spec::SET_PROTOCOL_FEATURES, taken)?;
            Ok(taken)
        })?;
        self.lock().is_acknowledged = self.protocol & protocol::REPLY_ACK != 0;
        if self.protocol & protocol::BACKEND_REQ != 0 {
            self.take_requests()?;
        }
        Ok(())
    }

    fn take_requests(&mut self) -> Result<(), VhostUserError> {
        let request = spec::SET_BACKEND_REQ_FD;
        let (ours, theirs) = FdSocket::pair().map_err(|source| VhostUserError::Broken {
            path: self.path.clone(),
            request: request.1,
            source,
        })?;
        self.with(|back_end| back_end.tell(request, &[], &[theirs.as_fd()]))?;
        self.requests = Some(ours);
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The features of the device, and of the queues.
    pub(super) fn features(&self) -> u64 {
        self.features
    }

    /// Readable and hung up when the back end is gone.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// By which the back end sends requests, if it does.
    pub(super) fn requests(&self) -> Option<&FdSocket> {
        self.requests.as_ref()
    }

    /// Ends the connection: a back end that does not do what it is told then ends its work, it may be
    /// hoped.
    pub(super) fn hang_up(&self) {
        self.socket.hang_up();
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
        if self.protocol & protocol::MQ == 0 {
            return Ok(None);
        }
        self.with(|back_end| back_end.ask_u64(spec::GET_QUEUE_NUM).map(Some))
    }

    /// Whether it has the configuration space.
    pub(super) fn has_config(&self) -> bool {
        self.protocol & protocol::CONFIG != 0
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
        let mut state = self.lock();
        f(&mut Connection::new(&self.path, &self.socket, &mut state))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
