//! How many descriptors the process may have, and has left.

use std::os::fd::{AsFd, AsRawFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Whether `fd`, which the host has just given, leaves `reserve` descriptors of the soft RLIMIT_NOFILE
/// to others. The limit is asked for each time, so that a process may raise it.
///
/// Linux gives the lowest number that is free (POSIX.1-2017, 2.14), so the number of a new descriptor
/// tells how many are in use at least up to it, whoever has them. What strangers may ask for without
/// end, such as connections, should be closed where this is not so: the rest of the process then still
/// finds descriptors.
///
/// ```
/// use vmmkit_host_io::{EventFd, leaves_descriptors};
///
/// let event = EventFd::new()?;
/// assert!(leaves_descriptors(&event, 16));
/// assert!(!leaves_descriptors(&event, u64::MAX));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn leaves_descriptors(fd: impl AsFd, reserve: u64) -> bool {
    let Some(limit) = descriptor_limit() else {
        return true;
    };
    // A descriptor is not negative.
    let number = u64::try_from(fd.as_fd().as_raw_fd()).unwrap_or(0);
    number.saturating_add(reserve) < limit
}

/// The soft RLIMIT_NOFILE: one more than the highest descriptor that the process may have. `None` where
/// there is none.
pub fn descriptor_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Raises how many descriptors this process may have to what its hard limit allows (RLIMIT_NOFILE): the
/// soft limit is low for the sake of programs that use select(2).
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Up to the hard limit it is always allowed (setrlimit(2)).
    let _ = setrlimit(Resource::Nofile, raised);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventFd;

    #[test]
    fn the_last_descriptors_are_left() {
        // The other test here changes it.
        raise_descriptor_limit();
        let limit = descriptor_limit().unwrap();
        let event = EventFd::new().unwrap();
        let high = rustix::io::fcntl_dupfd_cloexec(&event, i32::try_from(limit - 8).unwrap());
        let high = high.unwrap();
        assert!(leaves_descriptors(&high, 7));
        assert!(!leaves_descriptors(&high, 8));
        assert!(!leaves_descriptors(&high, u64::MAX));
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        raise_descriptor_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
