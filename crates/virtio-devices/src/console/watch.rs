//! The events that a poller is asked to wait for, as far as they are known.

use std::os::fd::AsFd;

use vmmkit_host_io::{Interest, Poller};

/// Whether a descriptor is waited for. A descriptor must be let go of before it is closed: the
/// poller holds what it stands for, which a copy keeps open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Watch {
    /// Not.
    #[default]
    Off,
    /// For this.
    On(Interest),
    /// It cannot be (regular files, /dev/null): it is always ready.
    Refused,
}

impl Watch {
    /// Waits for `interest`, or for nothing.
    pub(super) fn set(
        &mut self,
        poller: &Poller,
        fd: impl AsFd,
        token: u64,
        interest: Option<Interest>,
    ) {
        *self = match (*self, interest) {
            (Self::On(old), Some(new)) if old == new => return,
            (Self::Off, None) | (Self::Refused, _) => return,
            (Self::On(_), Some(new)) => {
                let _ = poller.change(fd, token, new);
                Self::On(new)
            }
            (Self::On(_), None) => {
                let _ = poller.remove(fd);
                Self::Off
            }
            (Self::Off, Some(new)) => match poller.add(fd, token, new) {
                Ok(()) => Self::On(new),
                Err(_) => Self::Refused,
            },
        };
    }
}
