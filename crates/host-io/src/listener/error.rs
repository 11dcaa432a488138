//! Why there is no socket to listen at.

use std::io;

use thiserror::Error;

/// Why a socket cannot be listened at.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// A socket's path has room for 107 bytes (unix(7)).
    #[error("a socket's path has at most 107 bytes, and this one has {0}")]
    TooLong(usize),
    /// Another process listens there.
    #[error("another process listens there")]
    InUse,
    /// The file there is not a socket.
    #[error("there is a file that is not a socket")]
    NotASocket,
    /// The host refused.
    #[error("{step}")]
    Host {
        /// Which step it refused.
        step: ListenStep,
        /// Its reason.
        #[source]
        source: io::Error,
    },
}

/// A step on the way to a socket that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ListenStep {
    /// socket(2), and what waits for its clients.
    #[error("the socket cannot be made")]
    Socket,
    /// bind(2): there is no such folder, or it may not be written.
    #[error("the socket's file cannot be made")]
    File,
    /// listen(2).
    #[error("the socket cannot listen")]
    Listen,
    /// Whether somebody listens to a socket that is there.
    #[error("whether somebody listens to the socket there cannot be told")]
    Probe,
    /// Removing a socket that nobody listens to.
    #[error("the socket there, which nobody listens to, cannot be removed")]
    Remove,
}

impl ListenStep {
    /// The error of this step that the host gave `source` for.
    pub(super) fn refused(self, source: impl Into<io::Error>) -> ListenError {
        ListenError::Host {
            step: self,
            source: source.into(),
        }
    }
}

impl From<ListenError> for io::Error {
    fn from(error: ListenError) -> Self {
        let kind = match &error {
            ListenError::TooLong(_) => io::ErrorKind::InvalidFilename,
            ListenError::InUse => io::ErrorKind::AddrInUse,
            ListenError::NotASocket => io::ErrorKind::AlreadyExists,
            ListenError::Host { source, .. } => source.kind(),
        };
        Self::new(kind, error)
    }
}
