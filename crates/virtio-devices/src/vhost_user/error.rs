//! Errors of a back end.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use vmmkit_virtio::DeviceKind;

/// Errors of a device whose back end is another process.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VhostUserError {
    /// Nobody is at the socket.
    #[error("cannot connect to the vhost-user socket {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the vhost-user back end at {} failed at {request}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// The message at which it was noticed.
        request: &'static str,
        /// The host's reason: [`TimedOut`](io::ErrorKind::TimedOut) for a back end that is silent.
        #[source]
        source: io::Error,
    },
    /// The back end ended the connection.
    #[error("the vhost-user back end at {} hung up", path.display())]
    HungUp {
        /// The socket.
        path: PathBuf,
    },
    /// The connection broke earlier.
    #[error("the vhost-user back end at {} is gone: start it again", path.display())]
    Gone {
        /// The socket.
        path: PathBuf,
    },
    /// Another back end took the place of the one that was gone, and does not offer the same.
    #[error("the vhost-user back end at {} is another now: {found}", path.display())]
    Changed {
        /// The socket.
        path: PathBuf,
        /// The difference.
        found: String,
    },
    /// An answer that is none to what was asked.
    #[error("the vhost-user back end at {} does not keep the protocol: {request} is answered by {found}", path.display())]
    Answer {
        /// The socket.
        path: PathBuf,
        /// The request.
        request: &'static str,
        /// The answer.
        found: String,
    },
    /// The back end says that it cannot do what it was asked for.
    #[error("the vhost-user back end at {} refuses {request}", path.display())]
    Refused {
        /// The socket.
        path: PathBuf,
        /// The request.
        request: &'static str,
    },
    /// The back end lacks something that there is no device without.
    #[error("the vhost-user back end at {} lacks {feature}, without which there is no {kind}: is it one for another device, or an old one?", path.display())]
    Lacks {
        /// The socket.
        path: PathBuf,
        /// The feature it lacks.
        feature: &'static str,
        /// The device.
        kind: DeviceKind,
    },
    /// The back end has too few queues.
    #[error("the vhost-user back end at {} serves {most} queues, and the device has {wanted}", path.display())]
    Queues {
        /// The socket.
        path: PathBuf,
        /// The number it serves.
        most: u64,
        /// The number the device has.
        wanted: u16,
    },
    /// A device that no back end can serve.
    #[error("a device with {value} {part}: a vhost-user back end serves at most {max}")]
    Limit {
        /// Its part, in the plural.
        part: &'static str,
        /// How many it has.
        value: usize,
        /// How many it may have.
        max: usize,
    },
    /// No tag of a file system.
    #[error(
        "the tag {tag:?} has {length} bytes: a guest mounts a file system by a tag of 1 to 36 bytes"
    )]
    Tag {
        /// The tag.
        tag: String,
        /// Its length in bytes.
        length: usize,
    },
    /// No other process can map the guest's RAM.
    #[error("guest RAM is private to this process, and a vhost-user back end must map it too")]
    PrivateRam,
}
