//! One message and its answer.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use vmmkit_host_io::{Deadline, FdSocket};

use super::error::VhostUserError;
use super::message::{self, Header};
use super::spec::{self, Request};

/// A connection to a back end. After an error of any kind but
/// [`Refused`](VhostUserError::Refused) it is of no use any more.
#[derive(Debug)]
pub(super) struct Connection<'a> {
    path: &'a Path,
    deadline: &'a Deadline,
    link: &'a mut Link,
}

/// A connection that was made, and what is known of it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) socket: Arc<FdSocket>,
    /// By it the back end sends requests.
    pub(super) requests: Option<Arc<FdSocket>>,
    /// REPLY_ACK is agreed on.
    pub(super) is_acknowledged: bool,
    pub(super) is_gone: bool,
}

impl<'a> Connection<'a> {
    pub(super) fn new(path: &'a Path, deadline: &'a Deadline, link: &'a mut Link) -> Self {
        Self {
            path,
            deadline,
            link,
        }
    }

    /// From now on the back end acknowledges what has no answer of its own, or does not.
    pub(super) fn acknowledged(&mut self, is_acknowledged: bool) {
        self.link.is_acknowledged = is_acknowledged;
    }

    /// The back end sends requests by the other end of `socket`.
    pub(super) fn take_requests(&mut self, socket: FdSocket) {
        self.link.requests = Some(Arc::new(socket));
    }

    /// Sends a message that has no answer of its own, and waits for its acknowledgement where there
    /// is one.
    pub(super) fn tell(
        &mut self,
        request: Request,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), VhostUserError> {
        if !self.link.is_acknowledged {
            return self.send(request, 0, payload, fds);
        }
        self.send(request, spec::NEED_REPLY, payload, fds)?;
        if self.receive_u64(request)? == 0 {
            return Ok(());
        }
        Err(self.refused(request))
    }

    /// As [`tell`](Self::tell), of a number.
    pub(super) fn tell_u64(&mut self, request: Request, value: u64) -> Result<(), VhostUserError> {
        self.tell(request, &value.to_ne_bytes(), &[])
    }

    /// Asks for a number.
    pub(super) fn ask_u64(&mut self, request: Request) -> Result<u64, VhostUserError> {
        self.send(request, 0, &[], &[])?;
        self.receive_u64(request)
    }

    /// Asks for an answer that may fill `answer`; how many bytes it has.
    pub(super) fn ask(
        &mut self,
        request: Request,
        payload: &[u8],
        answer: &mut [u8],
    ) -> Result<usize, VhostUserError> {
        self.send(request, 0, payload, &[])?;
        self.receive(request, answer)
    }

    pub(super) fn refused(&self, request: Request) -> VhostUserError {
        VhostUserError::Refused {
            path: self.path.into(),
            request: request.1,
        }
    }

    /// The answer to `request` was `found`.
    pub(super) fn odd(&mut self, request: Request, found: String) -> VhostUserError {
        self.link.is_gone = true;
        VhostUserError::Answer {
            path: self.path.into(),
            request: request.1,
            found,
        }
    }

    fn send(
        &mut self,
        request: Request,
        flags: u32,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), VhostUserError> {
        if self.link.is_gone {
            return Err(VhostUserError::Gone {
                path: self.path.into(),
            });
        }
        let bytes = message::message(request.0, flags | spec::VERSION, payload);
        self.link
            .socket
            .send(&bytes, fds, self.deadline)
            .map_err(|source| self.broken(request, source))
    }

    fn receive_u64(&mut self, request: Request) -> Result<u64, VhostUserError> {
        let mut answer = [0; 8];
        match self.receive(request, &mut answer)? {
            8 => Ok(u64::from_ne_bytes(answer)),
            size => Err(self.odd(request, format!("{size} bytes"))),
        }
    }

    fn receive(&mut self, request: Request, answer: &mut [u8]) -> Result<usize, VhostUserError> {
        let mut fds: Vec<OwnedFd> = Vec::new();
        let mut header = [0; Header::BYTES];
        self.link
            .socket
            .receive(&mut header, &mut fds, self.deadline)
            .map_err(|source| self.broken(request, source))?;
        let header = Header::parse(&header);
        let is_answer = header.request == request.0
            && header.flags & spec::REPLY != 0
            && header.flags & spec::VERSION_MASK == spec::VERSION;
        if !is_answer {
            let (number, flags) = (header.request, header.flags);
            return Err(self.odd(request, format!("message {number} with flags {flags:#x}")));
        }
        let size = usize::try_from(header.size).unwrap_or(usize::MAX);
        let Some(part) = answer.get_mut(..size) else {
            return Err(self.odd(request, format!("{size} bytes")));
        };
        self.link
            .socket
            .receive(part, &mut fds, self.deadline)
            .map_err(|source| self.broken(request, source))?;
        Ok(size)
    }

    pub(super) fn broken(&mut self, request: Request, source: io::Error) -> VhostUserError {
        self.link.is_gone = true;
        VhostUserError::Broken {
            path: self.path.into(),
            request: request.1,
            source,
        }
    }
}
