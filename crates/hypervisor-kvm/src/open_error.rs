//! Why KVM cannot be used, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use vmmkit_hypervisor::Error;

use crate::{Access, KickSignal};

/// Why KVM cannot be used, and the next step.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such device.
    #[error("{} does not exist", .path.display())]
    Missing {
        /// The device.
        path: PathBuf,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// This user may not open it.
    #[error("{} may not be opened by this user", .path.display())]
    Forbidden {
        /// The device.
        path: PathBuf,
        /// The way for the user to open it.
        access: Access,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// It exists, and opening it failed for another reason.
    #[error("{} cannot be opened", .path.display())]
    Open {
        /// The device.
        path: PathBuf,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// The signal that is to take vCPUs out of the guest has no handler, and cannot get one: with a
    /// reason of the kind [`ResourceBusy`](io::ErrorKind::ResourceBusy) the process has another.
    #[error("signal {} cannot be the one that takes vCPUs out of the guest", .signal.number())]
    KickSignal {
        /// The signal.
        signal: KickSignal,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It speaks another version of the KVM API.
    #[error("KVM API version {found}: {expected} is needed (Linux 2.6.22 or later)")]
    Version {
        /// The version found; -1 where the device is not KVM at all.
        found: i32,
        /// The version needed.
        expected: u32,
    },
    /// It lacks extensions that vmmkit cannot do without.
    #[error("this KVM lacks {}: a newer Linux kernel is needed", .names.join(", "))]
    Extensions {
        /// Their names as the KVM API spells them.
        names: Vec<&'static str>,
    },
    /// It is a software KVM, and the probe of what it lacks could not run.
    #[error("{} is a software KVM, and looking at what it lacks failed", .path.display())]
    Probe {
        /// The device.
        path: PathBuf,
        /// The host's reason.
        #[source]
        source: Error,
    },
}

/// The host refused with `source` to open the device at `path`.
pub(crate) fn open_error(path: &Path, source: io::Error) -> OpenError {
    let access = || Access::to(path);
    let path = path.to_owned();
    match source.raw_os_error() {
        // ENODEV and ENXIO: the node is there, the module behind it is not.
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => OpenError::Missing { path, source },
        Some(libc::EACCES | libc::EPERM) => OpenError::Forbidden {
            access: access(),
            path,
            source,
        },
        _ => OpenError::Open { path, source },
    }
}
