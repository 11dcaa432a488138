//! Statistics of a disk.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use vmmkit_telemetry::Tree;

use super::BlockRequest;

/// Counters of a block device, over all queues and resets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockStats {
    /// IN requests that were done.
    pub reads: u64,
    /// OUT requests that were done.
    pub writes: u64,
    /// FLUSH requests that were done.
    pub flushes: u64,
    /// DISCARD and WRITE_ZEROES requests that were done.
    pub discards: u64,
    /// Bytes that were read.
    pub read_bytes: u64,
    /// Bytes that were written.
    pub written_bytes: u64,
    /// Requests that failed because of the host.
    pub host_errors: u64,
    /// Requests that broke the rules or asked for what the disk does not have.
    pub bad_requests: u64,
}

impl BlockStats {
    /// Adds them to `tree`.
    pub(super) fn add_to(self, tree: Tree) -> Tree {
        tree.counter("reads", self.reads)
            .counter("writes", self.writes)
            .counter("flushes", self.flushes)
            .counter("discards", self.discards)
            .counter("read_bytes", self.read_bytes)
            .counter("written_bytes", self.written_bytes)
            .counter("host_errors", self.host_errors)
            .counter("bad_requests", self.bad_requests)
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    // Ordering: counts.
    reads: AtomicU64,
    writes: AtomicU64,
    flushes: AtomicU64,
    discards: AtomicU64,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    host_errors: AtomicU64,
    bad_requests: AtomicU64,
    first_error: OnceLock<String>,
}

impl Counters {
    pub(super) fn stats(&self) -> BlockStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BlockStats {
            reads: count(&self.reads),
            writes: count(&self.writes),
            flushes: count(&self.flushes),
            discards: count(&self.discards),
            read_bytes: count(&self.read_bytes),
            written_bytes: count(&self.written_bytes),
            host_errors: count(&self.host_errors),
            bad_requests: count(&self.bad_requests),
        }
    }

    pub(super) fn first_error(&self) -> Option<&str> {
        self.first_error.get().map(String::as_str)
    }

    pub(super) fn done(&self, request: &BlockRequest) {
        let counter = match *request {
            BlockRequest::Read { length, .. } => {
                self.read_bytes.fetch_add(length, Ordering::Relaxed);
                &self.reads
            }
            BlockRequest::Write { length, .. } => {
                self.written_bytes.fetch_add(length, Ordering::Relaxed);
                &self.writes
            }
            BlockRequest::Flush => &self.flushes,
            BlockRequest::Discard { .. } | BlockRequest::WriteZeroes { .. } => &self.discards,
            BlockRequest::Identify => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn bad_request(&self) {
        self.bad_requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a failure of the host; its description where it is the first one.
    pub(super) fn failed(
        &self,
        disk: &str,
        request: &BlockRequest,
        error: &io::Error,
    ) -> Option<&str> {
        if self.host_errors.fetch_add(1, Ordering::Relaxed) > 0 {
            return None;
        }
        let text = describe(disk, request, error);
        tracing::warn!(disk, error = %error, "the host failed a request: {text}");
        Some(self.first_error.get_or_init(|| text))
    }
}

fn describe(disk: &str, request: &BlockRequest, error: &io::Error) -> String {
    let (verb, offset, length) = match *request {
        BlockRequest::Read { offset, length } => ("reading", offset, length),
        BlockRequest::Write { offset, length } => ("writing", offset, length),
        BlockRequest::Discard { offset, length } => ("discarding", offset, length),
        BlockRequest::WriteZeroes { offset, length, .. } => ("zeroing", offset, length),
        BlockRequest::Flush | BlockRequest::Identify => {
            return format!("disk {disk}: making writes durable failed: {error}");
        }
    };
    format!("disk {disk}: {verb} {length} bytes at {offset} failed: {error}")
}
