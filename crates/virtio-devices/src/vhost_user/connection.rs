//! One message and its answer.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use vmmkit_host_io::FdSocket;

use super::error::VhostUserError;
use super::message::{self, Header};
use super::spec::{self, Request};

/// A connection to a back end. After an error of any kind but
/// [`Refused`](VhostUserError::Refused) it is of no use any more.
#[derive(Debug)]
pub(super) struct Connection<'a> {
    path: &'a Path,
    socket: &'a FdSocket,
    state: &'a mut State,
}

/// What is known of a connection.
#[derive(Debug, Default)]
pub(super) struct State {
    /// REPLY_ACK is agreed on.
    pub(super) is_acknowledged: bool,
    is_gone: bool,
}

impl<'a> Connection<'a> {
    pub(super) fn new(path: &'a Path, socket: &'a FdSocket, state: &'a mut State) -> Self {
        Self {
            path,
            socket,
            state,
        }
    }

    /// Sends a message that has no answer of its own, and waits for its acknowledgement where there
    /// is one.
    pub(super) fn tell(
        &mut self,
        request: Request,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), VhostUserError> {
        if !self.state.is_acknowledged {
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
        self.state.is_gone = true;
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
        if self.state.is_gone {
            return Err(VhostUserError::Gone {
                path: self.path.into(),
            });
        }
        let bytes = message::message(request.0, flags | spec::VERSION, payload);
        self.socket
            .send(&bytes, fds)
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
        self.socket
            .receive(&mut header, &mut fds)
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
        self.socket
            .receive(part, &mut fds)
            .map_err(|source| self.broken(request, source))?;
        Ok(size)
    }

    fn broken(&mut self, request: Request, source: io::Error) -> VhostUserError {
        self.state.is_gone = true;
        VhostUserError::Broken {
            path: self.path.into(),
            request: request.1,
            source,
        }
    }
}
