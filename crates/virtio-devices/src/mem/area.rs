//! Which blocks are plugged: the device as a pure value.

use vmmkit_guest_memory::BLOCK_SIZE;

use super::{MemAnswer, MemBlocks, MemRequest, MemState};

/// An area of addresses, and which of its blocks are plugged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemArea {
    // Fixed at creation
    start: u64,
    blocks: u64,
    // What the guest can see
    /// A bit for each block, the first in bit 0 of the first word.
    plugged: Vec<u64>,
    plugged_blocks: u64,
    requested_blocks: u64,
}

/// A range of addresses whose bytes are the host's again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Released {
    /// The first address.
    pub address: u64,
    /// The length in bytes.
    pub length: u64,
}

impl MemArea {
    /// An area without a plugged block; `None` where `start` or `size` is not a multiple of
    /// [`BLOCK_SIZE`], the size is 0, or the area does not end in the address space.
    pub fn new(start: u64, size: u64) -> Option<Self> {
        let is_whole = start.is_multiple_of(BLOCK_SIZE) && size.is_multiple_of(BLOCK_SIZE);
        start.checked_add(size)?;
        let blocks = size / BLOCK_SIZE;
        let words = usize::try_from(blocks.div_ceil(64)).ok()?;
        (is_whole && size > 0).then(|| Self {
            start,
            blocks,
            plugged: vec![0; words],
            plugged_blocks: 0,
            requested_blocks: 0,
        })
    }

    /// The first address.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Bytes in all.
    pub fn size(&self) -> u64 {
        self.blocks * BLOCK_SIZE
    }

    /// Bytes that are plugged.
    pub fn plugged(&self) -> u64 {
        self.plugged_blocks * BLOCK_SIZE
    }

    /// Bytes that should be plugged.
    pub fn requested(&self) -> u64 {
        self.requested_blocks * BLOCK_SIZE
    }

    /// Changes how many bytes should be plugged; `false` where that is not a multiple of [`BLOCK_SIZE`]
    /// or more than there is.
    #[must_use]
    pub fn request(&mut self, bytes: u64) -> bool {
        let is_possible = bytes.is_multiple_of(BLOCK_SIZE) && bytes <= self.size();
        if is_possible {
            self.requested_blocks = bytes / BLOCK_SIZE;
        }
        is_possible
    }

    /// Does what a driver asks for, or not; and what the host gets back by it. It takes time for each
    /// block that is named, at most 65,535.
    pub fn answer(&mut self, request: MemRequest) -> (MemAnswer, Option<Released>) {
        match request {
            MemRequest::Plug(blocks) => (self.plug(blocks), None),
            MemRequest::Unplug(blocks) => self.unplug(blocks),
            MemRequest::UnplugAll => (MemAnswer::Ack, self.unplug_all()),
            MemRequest::State(blocks) => (self.tell(blocks), None),
        }
    }

    fn plug(&mut self, blocks: MemBlocks) -> MemAnswer {
        match self.state(blocks) {
            Some((first, count, MemState::Unplugged)) => {
                if self.plugged_blocks + count > self.requested_blocks {
                    return MemAnswer::Nack;
                }
                self.set(first, count, true);
                MemAnswer::Ack
            }
            _ => MemAnswer::Error,
        }
    }

    fn unplug(&mut self, blocks: MemBlocks) -> (MemAnswer, Option<Released>) {
        match self.state(blocks) {
            Some((first, count, MemState::Plugged)) => {
                self.set(first, count, false);
                let released = Released {
                    address: blocks.address,
                    length: count * BLOCK_SIZE,
                };
                (MemAnswer::Ack, Some(released))
            }
            _ => (MemAnswer::Error, None),
        }
    }

    /// No block is plugged any more. All of the area is the host's again: also what was touched
    /// without being plugged.
    pub fn unplug_all(&mut self) -> Option<Released> {
        self.plugged.fill(0);
        self.plugged_blocks = 0;
        Some(Released {
            address: self.start,
            length: self.size(),
        })
    }

    fn tell(&self, blocks: MemBlocks) -> MemAnswer {
        match self.state(blocks) {
            Some((_, _, state)) => MemAnswer::State(state),
            None => MemAnswer::Error,
        }
    }

    /// The number of the first of `blocks`, how many they are and their state; `None` where there are
    /// no such blocks.
    fn state(&self, blocks: MemBlocks) -> Option<(u64, u64, MemState)> {
        let offset = blocks.address.checked_sub(self.start)?;
        let (first, count) = (offset / BLOCK_SIZE, u64::from(blocks.count));
        if !offset.is_multiple_of(BLOCK_SIZE) || count == 0 || first + count > self.blocks {
            return None;
        }
        let plugged = (first..first + count).filter(|&block| self.is_plugged(block));
        let state = match plugged.count() as u64 {
            0 => MemState::Unplugged,
            plugged if plugged == count => MemState::Plugged,
            _ => MemState::Mixed,
        };
        Some((first, count, state))
    }

    fn is_plugged(&self, block: u64) -> bool {
        let word = self.plugged.get((block / 64) as usize);
        word.is_some_and(|word| word >> (block % 64) & 1 == 1)
    }

    /// Makes blocks, all of which are in the other state, plugged or not.
    fn set(&mut self, first: u64, count: u64, is_plugged: bool) {
        for block in first..first + count {
            if let Some(word) = self.plugged.get_mut((block / 64) as usize) {
                *word ^= 1 << (block % 64);
            }
        }
        self.plugged_blocks = match is_plugged {
            true => self.plugged_blocks + count,
            false => self.plugged_blocks.saturating_sub(count),
        };
    }

    /// Blocks that are plugged, as runs: the number of the first and how many follow each other.
    pub(super) fn runs(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for block in (0..self.blocks).filter(|&block| self.is_plugged(block)) {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == block => *count += 1,
                _ => runs.push((block, 1)),
            }
        }
        runs
    }

    /// Plugs `runs` into an area without a plugged block; `false` where one is outside or is there
    /// twice.
    pub(super) fn plug_runs(&mut self, runs: &[(u64, u64)]) -> bool {
        let mut end = 0;
        for &(first, count) in runs {
            let Some(next) = first.checked_add(count).filter(|next| *next <= self.blocks) else {
                return false;
            };
            if count == 0 || first < end {
                return false;
            }
            self.set(first, count, true);
            end = next;
        }
        true
    }
}
