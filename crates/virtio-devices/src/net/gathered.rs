//! Chains of a receive queue that are taken and not given back: room for packets.

use vmmkit_guest_memory::MAX_SEGMENTS;
use vmmkit_guest_memory::Segment;
use vmmkit_virtio::{Chain, Queue};

use super::spec::HEADER;

/// The most segments at a time: those of a system call, with one for the spare.
const MAX_GATHERED: usize = MAX_SEGMENTS - 1;
/// From how many given back chains on the lists are moved to their front.
const BEHIND: usize = 64;

/// Chains, first to last, with their segments one after the other.
#[derive(Default)]
pub(super) struct Gathered {
    chain: Chain,
    chains: Vec<Held>,
    segments: Vec<Segment>,
    /// Chains, and segments, that are given back.
    behind: (usize, usize),
    bytes: u64,
}

/// A chain that is held.
#[derive(Clone, Copy)]
struct Held {
    head: u16,
    segments: usize,
    bytes: u64,
}

impl Gathered {
    /// Bytes of room.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held().is_empty()
    }

    /// Whether no more can be had: the queue's chains are all here, or as many segments as one
    /// system call takes.
    pub(super) fn is_full(&self, queue: &Queue) -> bool {
        self.held().len() >= usize::from(queue.size()) || self.segments().len() >= MAX_GATHERED
    }

    /// Takes chains until there are `wanted` bytes of room or no more chains. Those too small for a
    /// header are given back; how many that were.
    #[inline]
    pub(super) fn fill(&mut self, queue: &mut Queue, wanted: u64) -> u64 {
        let mut useless = 0;
        // A driver that is as fast as this loop does not hold it.
        let mut left = queue.size();
        while self.bytes < wanted && left > 0 && !self.is_full(queue) && queue.pop(&mut self.chain)
        {
            left -= 1;
            let (count, bytes) = (self.chain.writable().len(), self.chain.writable_bytes());
            if bytes < HEADER as u64 || count > MAX_GATHERED {
                useless += 1;
                if self.is_empty() {
                    queue.complete(&self.chain, 0);
                } else {
                    // Behind others it has its turn after them: what is put back is then what was
                    // popped last.
                    self.chains.push(Held {
                        head: self.chain.head(),
                        segments: 0,
                        bytes: 0,
                    });
                }
                continue;
            }
            if self.segments().len() + count > MAX_GATHERED {
                queue.unpop();
                break;
            }
            self.chains.push(Held {
                head: self.chain.head(),
                segments: count,
                bytes,
            });
            self.segments.extend_from_slice(self.chain.writable());
            self.bytes += bytes;
        }
        useless
    }

    /// The segments of all chains.
    #[inline]
    pub(super) fn segments(&self) -> &[Segment] {
        self.segments.get(self.behind.1..).unwrap_or_default()
    }

    /// The segments of as many chains as `wanted` bytes need, at least one, and their bytes; those
    /// of all chains where that is less.
    #[inline]
    pub(super) fn front(&self, wanted: u64) -> (&[Segment], u64) {
        let (mut count, mut bytes) = (0, 0);
        for chain in self.held() {
            count += chain.segments;
            bytes += chain.bytes;
            if bytes >= wanted {
                break;
            }
        }
        (self.segments().get(..count).unwrap_or_default(), bytes)
    }

    /// How many chains `length` bytes lie in.
    #[inline]
    pub(super) fn span(&self, length: u64) -> u16 {
        let mut left = length;
        let mut count = 0;
        for chain in self.held() {
            count += 1;
            left = left.saturating_sub(chain.bytes);
            if left == 0 {
                break;
            }
        }
        count
    }

    /// Gives back the chains that `length` bytes lie in, and those without room behind them.
    #[inline]
    pub(super) fn complete(&mut self, queue: &mut Queue, length: u64) {
        let (mut left, mut is_first) = (length, true);
        for chain in self.chains.get(self.behind.0..).unwrap_or_default() {
            if left == 0 && chain.bytes > 0 && !is_first {
                break;
            }
            is_first = false;
            let part = left.min(chain.bytes);
            // At most MAX_PACKET.
            queue.complete_head(chain.head, part as u32);
            self.behind.0 += 1;
            self.behind.1 += chain.segments;
            self.bytes -= chain.bytes;
            left -= part;
        }
        if self.behind.0 == self.chains.len() || self.behind.0 >= BEHIND {
            self.chains.drain(..self.behind.0);
            self.segments.drain(..self.behind.1);
            self.behind = (0, 0);
        }
    }

    /// Puts all chains back into the queue they are from.
    pub(super) fn put_back(&mut self, queue: &mut Queue) {
        for _ in self.held() {
            queue.unpop();
        }
        self.chains.clear();
        self.segments.clear();
        self.behind = (0, 0);
        self.bytes = 0;
    }

    fn held(&self) -> &[Held] {
        self.chains.get(self.behind.0..).unwrap_or_default()
    }
}
