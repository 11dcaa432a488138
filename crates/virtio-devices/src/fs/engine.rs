//! Requests, on the device's thread.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use vmmkit_fuse::{Counters, Directory, Input, Limits, Output, Session};
use vmmkit_guest_memory::{GuestRam, Segment};
use vmmkit_virtio::{Chain, Context, Engine, Reader};

/// Bytes after which the other queue has its turn; a request counts as 4 KiB at least.
const BUDGET: u32 = 4 << 20;
const LEAST: u32 = 4 << 10;

/// Answers requests one after the other: each when the host's file system has done what it says. None is under way
/// between turns.
pub(super) struct FsEngine {
    session: Session,
    chain: Chain,
    pieces: Vec<Segment>,
}

impl FsEngine {
    pub(super) fn new(directory: Arc<Directory>, limits: Limits, counters: Arc<Counters>) -> Self {
        Self {
            session: Session::with_counters(directory, limits, counters),
            chain: Chain::new(),
            pieces: Vec::new(),
        }
    }
}

impl Engine for FsEngine {
    fn kicked(&mut self, context: &mut Context, index: u16) {
        let Some(queue) = context.queues.get_mut(index) else {
            return;
        };
        let mut budget = BUDGET;
        while budget > 0 && queue.pop(&mut self.chain) {
            let (chain, ram) = (&self.chain, queue.ram());
            let mut message = Message {
                reader: chain.reader(ram),
                ram,
                pieces: std::mem::take(&mut self.pieces),
            };
            let mut answer = Answer {
                chain,
                ram,
                pieces: Vec::new(),
            };
            let written = self.session.handle(&mut message, &mut answer);
            self.pieces = message.pieces;
            let moved = u64::from(written) + chain.readable_bytes();
            let cost = u32::try_from(moved).unwrap_or(u32::MAX).max(LEAST);
            queue.complete(&self.chain, written);
            queue.publish();
            budget = budget.saturating_sub(cost);
        }
        if budget == 0 {
            queue.kick().notify();
        }
    }
}

/// A chain's buffers to read.
struct Message<'a> {
    reader: Reader<'a>,
    ram: &'a GuestRam,
    pieces: Vec<Segment>,
}

impl Input for Message<'_> {
    fn left(&self) -> u64 {
        self.reader.left()
    }

    fn read(&mut self, bytes: &mut [u8]) -> usize {
        self.reader.read(bytes)
    }

    fn write_to(&mut self, file: BorrowedFd<'_>, offset: u64, length: u32) -> io::Result<u32> {
        self.reader.rest(length.into(), &mut self.pieces);
        let written = self.ram.write_at(file, &self.pieces, offset)?;
        self.reader.skip(written as u64);
        Ok(u32::try_from(written).unwrap_or(length))
    }
}

/// A chain's buffers to write.
struct Answer<'a> {
    chain: &'a Chain,
    ram: &'a GuestRam,
    pieces: Vec<Segment>,
}

impl Output for Answer<'_> {
    fn room(&self) -> u64 {
        self.chain.writable_bytes()
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        let mut writer = self.chain.writer(self.ram);
        writer.skip(at);
        writer.write(bytes);
    }

    fn fill(&mut self, at: u64, file: BorrowedFd<'_>, offset: u64, length: u32) -> io::Result<u32> {
        let mut writer = self.chain.writer(self.ram);
        writer.skip(at);
        writer.rest(length.into(), &mut self.pieces);
        let read = self.ram.read_at(file, &self.pieces, offset)?;
        Ok(u32::try_from(read).unwrap_or(length))
    }
}
