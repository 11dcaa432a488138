//! From a head to a checked chain.

use std::sync::atomic::Ordering;

use vmmkit_guest_memory::{GuestAddress, GuestRam, RamView, Segment};

use super::{Chain, RingError};
use crate::spec::split;

/// The most descriptors of an indirect table that are followed. A driver must not make a chain
/// longer than the queue (2.7.5.3.1); Linux does for large requests, up to this.
const MAX_INDIRECT: u32 = 1024;

/// A descriptor (2.7.5).
#[derive(Clone, Copy)]
struct Descriptor {
    address: u64,
    length: u32,
    flags: u16,
    next: u16,
}

impl Descriptor {
    fn has(self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// A table of descriptors.
struct Table<'a> {
    view: RamView<'a>,
    count: u32,
    /// The most that one chain may have.
    most: u32,
}

impl Table<'_> {
    /// Reads a descriptor, once: what the driver changes later is not seen.
    #[inline]
    fn get(&self, index: u32) -> Result<Descriptor, RingError> {
        let error = RingError::Index {
            index,
            count: self.count,
        };
        if index >= self.count {
            return Err(error);
        }
        let place = index as usize * split::DESC_SIZE;
        // Ordering: the head was read after the index of the ring was, with Acquire.
        let address = self.view.load_u64(place, Ordering::Relaxed).ok_or(error)?;
        let rest = self
            .view
            .load_u64(place + 8, Ordering::Relaxed)
            .ok_or(error)?;
        Ok(Descriptor {
            address,
            length: rest as u32,
            flags: (rest >> 32) as u16,
            next: (rest >> 48) as u16,
        })
    }
}

impl Chain {
    /// Fills the chain from the one that begins at `head` of `descriptors`, a table of `size`.
    #[inline]
    pub(super) fn follow(
        &mut self,
        ram: &GuestRam,
        descriptors: RamView<'_>,
        size: u16,
        head: u16,
        indirect: bool,
    ) -> Result<(), RingError> {
        self.head = head;
        self.segments.clear();
        self.readable = 0;
        self.readable_bytes = 0;
        self.writable_bytes = 0;
        let table = Table {
            view: descriptors,
            count: size.into(),
            most: size.into(),
        };
        let last = self.follow_table(ram, &table, head.into())?;
        match last {
            Some(descriptor) if indirect => self.follow_indirect(ram, descriptor),
            Some(_) => Err(RingError::Indirect),
            None => Ok(()),
        }
    }

    /// Takes descriptors from `index` on, up to the end of the chain (`None`) or an indirect one.
    #[inline]
    fn follow_table(
        &mut self,
        ram: &GuestRam,
        table: &Table<'_>,
        mut index: u32,
    ) -> Result<Option<Descriptor>, RingError> {
        for _ in 0..table.most {
            let descriptor = table.get(index)?;
            if descriptor.has(split::DESC_F_INDIRECT) {
                return Ok(Some(descriptor));
            }
            self.push(ram, descriptor)?;
            if !descriptor.has(split::DESC_F_NEXT) {
                return Ok(None);
            }
            index = descriptor.next.into();
        }
        Err(RingError::TooLong { most: table.most })
    }

    fn follow_indirect(&mut self, ram: &GuestRam, descriptor: Descriptor) -> Result<(), RingError> {
        if descriptor.has(split::DESC_F_NEXT) {
            return Err(RingError::Indirect);
        }
        let length = descriptor.length;
        let count = length / split::DESC_SIZE as u32;
        if count == 0 || !length.is_multiple_of(split::DESC_SIZE as u32) {
            return Err(RingError::Table { length });
        }
        let outside = RingError::Outside {
            address: descriptor.address,
            length,
        };
        let address = GuestAddress(descriptor.address);
        let view = ram.view(address, length as usize).map_err(|_| outside)?;
        let table = Table {
            view,
            count,
            most: count.min(MAX_INDIRECT),
        };
        match self.follow_table(ram, &table, 0)? {
            // A table within a table (2.7.5.3.1).
            Some(_) => Err(RingError::Indirect),
            None => Ok(()),
        }
    }

    #[inline]
    fn push(&mut self, ram: &GuestRam, descriptor: Descriptor) -> Result<(), RingError> {
        let Descriptor {
            address, length, ..
        } = descriptor;
        if length == 0 {
            return Err(RingError::Empty);
        }
        let address = GuestAddress(address);
        ram.view(address, length as usize)
            .map_err(|_| RingError::Outside {
                address: address.0,
                length,
            })?;
        if descriptor.has(split::DESC_F_WRITE) {
            self.writable_bytes += u64::from(length);
        } else if self.writable_bytes > 0 {
            return Err(RingError::Order);
        } else {
            self.readable += 1;
            self.readable_bytes += u64::from(length);
        }
        self.segments.push(Segment { address, length });
        Ok(())
    }
}
