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

/// Reads a descriptor of a packed queue (2.8.13), with its ID as `next`; as [`Table::get`] does.
#[inline]
fn packed_descriptor(view: RamView<'_>, index: u32, count: u32) -> Result<Descriptor, RingError> {
    let descriptor = Table {
        view,
        count,
        most: count,
    }
    .get(index)?;
    Ok(Descriptor {
        flags: descriptor.next,
        next: descriptor.flags,
        ..descriptor
    })
}

impl Chain {
    /// Fills the chain from the one that begins in `slot` of `ring`, which has `size` of them; how many
    /// slots it takes (2.8).
    #[inline]
    pub(super) fn follow_packed(
        &mut self,
        ram: &GuestRam,
        ring: RamView<'_>,
        size: u16,
        mut slot: u16,
        indirect: bool,
    ) -> Result<u16, RingError> {
        self.clear();
        for count in 1..=size {
            let descriptor = packed_descriptor(ring, slot.into(), size.into())?;
            let goes_on = descriptor.has(split::DESC_F_NEXT);
            if descriptor.has(split::DESC_F_INDIRECT) {
                // One alone (2.8.19).
                if !indirect || goes_on || count > 1 {
                    return Err(RingError::Indirect);
                }
                self.follow_packed_table(ram, descriptor)?;
            } else {
                self.push(ram, descriptor)?;
            }
            if !goes_on {
                self.head = descriptor.next;
                return Ok(count);
            }
            slot = if slot + 1 == size { 0 } else { slot + 1 };
        }
        Err(RingError::TooLong { most: size.into() })
    }

    /// Takes all descriptors of a table, whose only flag is WRITE (2.8.7).
    fn follow_packed_table(
        &mut self,
        ram: &GuestRam,
        descriptor: Descriptor,
    ) -> Result<(), RingError> {
        let table = indirect_table(ram, descriptor)?;
        if table.count > table.most {
            return Err(RingError::TooLong { most: table.most });
        }
        for index in 0..table.count {
            let descriptor = packed_descriptor(table.view, index, table.count)?;
            let flags = descriptor.flags & split::DESC_F_WRITE;
            self.push(
                ram,
                Descriptor {
                    flags,
                    ..descriptor
                },
            )?;
        }
        Ok(())
    }

    #[inline]
    fn clear(&mut self) {
        self.segments.clear();
        self.readable = 0;
        self.readable_bytes = 0;
        self.writable_bytes = 0;
    }

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
        self.clear();
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
        let table = indirect_table(ram, descriptor)?;
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

/// The table that an indirect descriptor names.
fn indirect_table(ram: &GuestRam, descriptor: Descriptor) -> Result<Table<'_>, RingError> {
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
    Ok(Table {
        view,
        count,
        most: count.min(MAX_INDIRECT),
    })
}
