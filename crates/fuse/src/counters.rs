//! Counts of a session, which others read while it works.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the session was made, and how much it has open now. Any thread may read them.
#[derive(Debug, Default)]
pub struct Counters {
    // Ordering: counts.
    requests: AtomicU64,
    errors: AtomicU64,
    malformed: AtomicU64,
    read: AtomicU64,
    written: AtomicU64,
    inodes: AtomicU64,
    files: AtomicU64,
    descriptors: AtomicU64,
}

impl Counters {
    /// Messages.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Of these, those that were answered with an error: also a name that is not there.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Of these, those that break the protocol.
    pub fn malformed(&self) -> u64 {
        self.malformed.load(Ordering::Relaxed)
    }

    /// Bytes of files that were read.
    pub fn read_bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes of files that were written.
    pub fn written_bytes(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Inodes that the guest knows now.
    pub fn inodes(&self) -> u64 {
        self.inodes.load(Ordering::Relaxed)
    }

    /// Files and directories that the guest has open now.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Descriptors of inodes that are open now.
    pub fn descriptors(&self) -> u64 {
        self.descriptors.load(Ordering::Relaxed)
    }

    pub(crate) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_read(&self, bytes: u32) {
        self.read.fetch_add(bytes.into(), Ordering::Relaxed);
    }

    pub(crate) fn count_written(&self, bytes: u32) {
        self.written.fetch_add(bytes.into(), Ordering::Relaxed);
    }

    pub(crate) fn set_open(&self, inodes: usize, files: usize, descriptors: usize) {
        self.inodes.store(inodes as u64, Ordering::Relaxed);
        self.files.store(files as u64, Ordering::Relaxed);
        self.descriptors
            .store(descriptors as u64, Ordering::Relaxed);
    }
}
