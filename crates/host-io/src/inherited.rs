//! The descriptors that the process inherited.

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

/// Where /proc cannot be read, descriptors from here on are not looked for: the usual soft limit.
const WITHOUT_PROC: RawFd = 1024;

/// Closes the descriptors above 2 that this process inherited, but for those in `keep`: a pipe of the
/// parent's that stays open here holds up whoever waits for its end. They are told by what they lack:
/// close-on-exec, which no descriptor that has come through execve(2) can have, and which all have that
/// Rust's standard library and the crates of this workspace open.
///
/// To be called when a program begins, before code that opens descriptors without O_CLOEXEC.
pub fn close_inherited(keep: &[RawFd]) {
    let listed = fs::read_dir("/proc/self/fd").map(|entries| {
        let names = entries.flatten().map(|entry| entry.file_name());
        let numbers = names.filter_map(|name| name.to_str()?.parse().ok());
        // Whole before the first is closed: the folder's own descriptor is among them, and is closed by now.
        numbers.collect::<Vec<RawFd>>()
    });
    let numbers = listed.unwrap_or_else(|_| (3..WITHOUT_PROC).collect());
    for number in numbers.into_iter().filter(|number| *number > 2) {
        if !keep.contains(&number) && is_inherited(number) {
            // SAFETY: close takes no pointer. Nothing in this process owns the descriptor: it came through
            // execve(2), as the flag that it lacks says, and the caller has opened none without it.
            unsafe { libc::close(number) };
        }
    }
}

/// A descriptor of this process's own for what `number` is, which it has inherited and still has, such as one whose number
/// a command line gives.
///
/// # Errors
/// EBADF where it was not inherited; the host's, when it has no descriptor left.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 || !is_inherited(number) {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: it is open, and is used for this one call, which makes another descriptor.
    unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned()
}

/// Whether it is open, and would stay so over execve(2).
fn is_inherited(number: RawFd) -> bool {
    // SAFETY: F_GETFD takes no pointer, and fails (EBADF) for what is not a descriptor.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    flags >= 0 && flags & libc::FD_CLOEXEC == 0
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, FromRawFd};

    use super::*;

    #[test]
    fn what_lacks_close_on_exec_was_inherited() {
        let (reader, writer) = std::io::pipe().unwrap();
        assert!(!is_inherited(reader.as_raw_fd()));
        // SAFETY: dup takes no pointer.
        let number = unsafe { libc::dup(writer.as_raw_fd()) };
        // SAFETY: dup made the descriptor, and nothing else knows it.
        let inherited = unsafe { OwnedFd::from_raw_fd(number) };
        assert!(is_inherited(inherited.as_raw_fd()));
        assert!(super::inherited(number).is_ok());
        for other in [-1, writer.as_raw_fd()] {
            let error = super::inherited(other).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        }
        drop(inherited);
    }
}
