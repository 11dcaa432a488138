//! Why a tap interface cannot be had, and what to do about it.

use std::io;

use rustix::io::Errno;
use thiserror::Error;

/// Why a tap interface cannot be had. The host's reason is the source.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TapError {
    /// Such a name no interface can have.
    #[error(
        "{name:?} is not the name of a network interface: it has 1 to 15 characters, without spaces, \
         slashes and percent signs"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The device of all taps cannot be opened.
    #[error("tap interface {interface}: cannot open /dev/net/tun; {advice}")]
    Device {
        /// The interface that was wanted.
        interface: String,
        /// The next step.
        advice: &'static str,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// The interface can neither be attached to nor be made.
    #[error("tap interface {interface}: cannot attach {}; {advice}", target(*.queues))]
    Attach {
        /// The interface.
        interface: String,
        /// How many queues were wanted.
        queues: u16,
        /// The next step.
        advice: String,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// A setting that the host refused.
    #[error("tap interface {interface}: cannot {what}")]
    Setting {
        /// The interface.
        interface: String,
        /// The request.
        what: &'static str,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
}

fn target(count: u16) -> String {
    match count {
        1 => "to it".to_owned(),
        _ => format!("{count} queues"),
    }
}

impl TapError {
    pub(super) fn device(interface: &str, error: Errno) -> Self {
        Self::Device {
            interface: interface.to_owned(),
            advice: match error {
                Errno::NOENT | Errno::NODEV | Errno::NXIO => "load the driver: `sudo modprobe tun`",
                Errno::ACCESS | Errno::PERM => {
                    "allow it: `sudo chmod 666 /dev/net/tun` (making an interface stays a \
                     privilege of root)"
                }
                _ => "see the reason of the host",
            },
            source: error.into(),
        }
    }

    pub(super) fn attach(interface: &str, queues: u16, error: Errno) -> Self {
        let multi_queue = if queues > 1 { " multi_queue" } else { "" };
        let make = format!("sudo ip tuntap add dev {interface} mode tap{multi_queue} user $USER");
        let advice = match error {
            Errno::PERM | Errno::ACCESS => format!("make it for this user: `{make}`"),
            Errno::BUSY => "another process has it, or another device of this machine: choose another interface".to_owned(),
            Errno::INVAL if queues > 1 => {
                format!("it is not a tap interface, or was made for one queue: make another: `{make}`")
            }
            Errno::INVAL => "it is not a tap interface".to_owned(),
            Errno::TOOBIG => "it has no more queues: choose fewer".to_owned(),
            _ => format!("make it first: `{make}`"),
        };
        Self::Attach {
            interface: interface.to_owned(),
            queues,
            advice,
            source: error.into(),
        }
    }

    pub(super) fn setting(interface: &str, what: &'static str, error: Errno) -> Self {
        Self::Setting {
            interface: interface.to_owned(),
            what,
            source: error.into(),
        }
    }
}
