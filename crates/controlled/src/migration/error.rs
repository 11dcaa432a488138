//! Why a guest stays here.

use std::io;
use std::time::Duration;

use thiserror::Error;
use vmmkit_control::Cause;
use vmmkit_snapshot::WriteError;
use vmmkit_snapshot::stream::StreamError;
use vmmkit_vmm::{SaveError, SaveRamError};

use super::files::Missing;

/// Why a guest stays here. It goes on, but for [`Stuck`](Self::Stuck).
#[derive(Debug, Error)]
pub(crate) enum MigrationError {
    /// The target cannot be reached.
    #[error("cannot connect to the target at {path}")]
    Connect {
        /// Its socket.
        path: String,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// The machine cannot be described.
    #[error("the description of the machine cannot be written")]
    Manifest(#[from] WriteError),
    /// The machine cannot be saved.
    #[error("the machine cannot be saved")]
    Machine(#[from] SaveError),
    /// The pages that the guest writes are not known.
    #[error("the machine cannot be saved")]
    Ram(#[from] SaveRamError),
    /// The stream broke, or the target refused.
    #[error("the guest goes on here")]
    Stream(#[from] StreamError),
    /// The target could not start it.
    #[error("the guest goes on here: the target could not start it: {0}")]
    Declined(String),
    /// It does not stand still.
    #[error(transparent)]
    Runs(Cause),
    /// It has ended meanwhile.
    #[error("the guest has ended")]
    Ended,
    /// The guest writes faster than the stream takes it.
    #[error(
        "the guest goes on here: it writes faster than the stream takes it: {left} bytes are left, for which it would \
         stand still for {} ms", expected.as_millis()
    )]
    TooFast {
        /// Bytes that were left.
        left: u64,
        /// How long they would take.
        expected: Duration,
    },
    /// A disk cannot be given up.
    #[error("the guest goes on here: {device} cannot be given up")]
    GiveUp {
        /// The device.
        device: String,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// The guest did not go, and another process has a disk of it.
    #[error("{failure}; the guest stays paused")]
    Stuck {
        /// Why it did not go.
        failure: Box<MigrationError>,
        /// The disk that it lacks here.
        #[source]
        error: Missing,
    },
}

impl From<io::Error> for MigrationError {
    fn from(error: io::Error) -> Self {
        StreamError::from(error).into()
    }
}
