//! Parameters that a back end asks of the kernel's command line.

use thiserror::Error;

/// A parameter that Linux should be given on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CmdlineAddition {
    /// The parameter, to be put before the user's own.
    pub parameter: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// A parameter that cannot work on this host.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{parameter}: {reason}")]
pub struct CmdlineConflict {
    /// The parameter as the user wrote it.
    pub parameter: String,
    /// Why it cannot work.
    pub reason: &'static str,
}
