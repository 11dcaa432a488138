//! Files whose last close the process does not wait for.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::IoUring;

/// Has the host's kernel close `files` for the last time after the end of this process, however it
/// ends, and not within it: for files whose last close waits in the kernel, as that of a VM does for
/// RCU. Closing them here goes on to work, and does no longer free what is behind them.
///
/// They are put into the file table of an io_uring that nobody uses (io_uring_register(2),
/// IORING_REGISTER_FILES), which a worker of the kernel's takes down. It takes one descriptor until
/// then. Call it when the process is about to end: each call keeps its files for good.
///
/// # Errors
/// The host's, which may not allow io_uring; nothing has changed then.
pub fn close_after_exit(files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let ring = IoUring::new(1)?;
    let files: Vec<_> = files.iter().map(AsRawFd::as_raw_fd).collect();
    ring.submitter().register_files(&files)?;
    mem::forget(ring);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_file_stays_open_when_its_owner_has_closed_it() {
        if let Err(reason) = IoUring::new(1) {
            eprintln!("SKIPPED: a file that the kernel keeps: {reason}");
            return;
        }
        let (reader, writer) = io::pipe().unwrap();
        rustix::fs::fcntl_setfl(&reader, rustix::fs::OFlags::NONBLOCK).unwrap();
        close_after_exit(&[writer.as_fd()]).unwrap();
        drop(writer);
        // With no writer left, this would be the end of the file.
        let error = (&reader).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
