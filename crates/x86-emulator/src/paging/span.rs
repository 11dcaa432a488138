//! Up to a page of linear bytes in one or two physical places.

use crate::PhysicalMemory;

/// Where consecutive linear bytes are in guest-physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    first: u64,
    first_length: u64,
    second: Option<u64>,
}

impl Span {
    pub(crate) fn new(first: u64, first_length: u64, second: Option<u64>) -> Self {
        Self {
            first,
            first_length,
            second,
        }
    }

    /// The physical address of the first byte.
    pub(crate) fn start(&self) -> u64 {
        self.first
    }

    /// Whether both places are RAM, as far as their first bytes tell: RAM comes in pages. `Err` is
    /// the address of the one that is not.
    pub(crate) fn check(&self, memory: &impl PhysicalMemory) -> Result<(), u64> {
        for address in [Some(self.first), self.second].into_iter().flatten() {
            memory.read(address, &mut [0]).map_err(|_| address)?;
        }
        Ok(())
    }

    /// Fills `bytes` from `offset` of the span on. `Err` is the address that is not RAM.
    pub(crate) fn read(
        &self,
        memory: &impl PhysicalMemory,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<(), u64> {
        let (near, far) = bytes.split_at_mut(self.in_first(offset, bytes.len()));
        if !near.is_empty() {
            let address = self.first + offset;
            memory.read(address, near).map_err(|_| address)?;
        }
        if !far.is_empty() {
            let address = self.behind(offset + near.len() as u64);
            memory.read(address, far).map_err(|_| address)?;
        }
        Ok(())
    }

    /// Copies `bytes` to `offset` of the span on. `Err` is the address that is not RAM.
    pub(crate) fn write(
        &self,
        memory: &impl PhysicalMemory,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), u64> {
        let (near, far) = bytes.split_at(self.in_first(offset, bytes.len()));
        if !near.is_empty() {
            let address = self.first + offset;
            memory.write(address, near).map_err(|_| address)?;
        }
        if !far.is_empty() {
            let address = self.behind(offset + near.len() as u64);
            memory.write(address, far).map_err(|_| address)?;
        }
        Ok(())
    }

    /// How many of `length` bytes from `offset` on are in the first place.
    fn in_first(&self, offset: u64, length: usize) -> usize {
        let room = self.first_length.saturating_sub(offset);
        usize::try_from(room).map_or(length, |room| room.min(length))
    }

    /// The address of the byte at `offset`, which is past the first place.
    fn behind(&self, offset: u64) -> u64 {
        let beyond = offset.saturating_sub(self.first_length);
        self.second.unwrap_or(self.first) + beyond
    }
}
