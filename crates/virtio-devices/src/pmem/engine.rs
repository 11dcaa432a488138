//! Flushes, on the device's thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vmmkit_virtio::{Chain, Context, Engine, Queue, Reader};

use super::{SyncFile, spec};

/// The most requests that one flush of the host answers.
const BATCH: usize = 64;

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Counts {
    // Ordering: counts.
    pub(super) flushes: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) malformed: AtomicU64,
}

/// A request of a driver (5.19.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PmemRequest {
    /// The writes so far are to be on the disk.
    Flush,
    /// No request that there is.
    Unknown,
}

impl PmemRequest {
    /// The request in what the driver sent.
    pub fn parse(mut reader: Reader<'_>) -> Self {
        match reader.read_value::<u32>().map(u32::from_le) {
            Some(spec::REQ_TYPE_FLUSH) => Self::Flush,
            _ => Self::Unknown,
        }
    }
}

/// Answers flushes: all that wait together by one flush of the host, which began after the last of
/// them came. A flush takes as long as the disk does, and nothing else waits on this thread.
pub(super) struct PmemEngine {
    sync: SyncFile,
    counts: Arc<Counts>,
    chains: Vec<Chain>,
}

impl PmemEngine {
    pub(super) fn new(sync: SyncFile, counts: Arc<Counts>) -> Self {
        Self {
            sync,
            counts,
            chains: Vec::new(),
        }
    }

    /// Pops up to [`BATCH`] requests; how many, and how many of them are flushes.
    fn collect(&mut self, queue: &mut Queue) -> (usize, u64) {
        let (mut count, mut flushes) = (0, 0);
        while count < BATCH {
            if self.chains.len() == count {
                self.chains.push(Chain::new());
            }
            let Some(chain) = self.chains.get_mut(count) else {
                break;
            };
            if !queue.pop(chain) {
                break;
            }
            if PmemRequest::parse(chain.reader(queue.ram())) == PmemRequest::Flush {
                flushes += 1;
            }
            count += 1;
        }
        (count, flushes)
    }

    fn flush(&self, flushes: u64) -> u32 {
        if flushes == 0 {
            return spec::RESP_OK;
        }
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        match (self.sync)() {
            Ok(()) => {
                self.counts.flushes.fetch_add(flushes, Ordering::Relaxed);
                spec::RESP_OK
            }
            Err(_) => {
                self.counts.failed.fetch_add(flushes, Ordering::Relaxed);
                spec::RESP_EIO
            }
        }
    }

    /// Gives the first `count` chains back.
    fn answer(&self, queue: &mut Queue, count: usize, flushed: u32) {
        for chain in self.chains.iter().take(count) {
            let request = PmemRequest::parse(chain.reader(queue.ram()));
            let answer = match request {
                PmemRequest::Flush => flushed,
                PmemRequest::Unknown => spec::RESP_EIO,
            };
            let mut writer = chain.writer(queue.ram());
            let is_answered = writer.write_value(answer.to_le());
            let written = writer.written();
            queue.complete(chain, written);
            if !is_answered || request == PmemRequest::Unknown {
                self.counts.malformed.fetch_add(1, Ordering::Relaxed);
            }
        }
        queue.publish();
    }
}

impl Engine for PmemEngine {
    fn kicked(&mut self, context: &mut Context, index: u16) {
        let Some(queue) = context.queues.get_mut(index) else {
            return;
        };
        debug_assert_eq!(index, spec::REQUESTS);
        let (count, flushes) = self.collect(queue);
        let flushed = self.flush(flushes);
        self.answer(queue, count, flushed);
        if count == BATCH {
            // The rest after whatever else this thread is asked for.
            queue.kick().notify();
        }
    }
}
