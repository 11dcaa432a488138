//! The places where a client wants the guest to stop.

use std::collections::BTreeMap;

use gdbstub::target::ext::breakpoints::WatchKind;
use vmmkit_guest_memory::GuestAddress;
use vmmkit_hypervisor::x86::{DEBUG_ADDRESSES, HardwareBreakpoint, WatchedAccess};

use crate::Debugged;
use crate::memory::Piece;

/// INT3.
const INT3: u8 = 0xcc;
/// The most breakpoints in memory that a client may have.
const MAX: usize = 1024;

/// Breakpoints in memory: an INT3 in the place of a byte of the guest's.
#[derive(Debug, Default)]
pub(crate) struct Planted(BTreeMap<u64, Byte>);

/// A byte that a breakpoint replaced.
#[derive(Clone, Copy, Debug)]
struct Byte {
    physical: u64,
    original: u8,
}

impl Planted {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is one at this physical address.
    pub(crate) fn is_at(&self, physical: u64) -> bool {
        self.0.values().any(|byte| byte.physical == physical)
    }

    /// Puts one at `linear`, which is at `physical`. `false` where there is no RAM, or are too many.
    pub(crate) fn plant(&mut self, machine: &impl Debugged, linear: u64, physical: u64) -> bool {
        if self.0.contains_key(&linear) {
            return true;
        }
        let ram = machine.ram();
        let mut found = [0];
        if self.0.len() == MAX || ram.read_bytes(GuestAddress(physical), &mut found).is_err() {
            return false;
        }
        // Another linear address of the same byte may have one.
        let mut known = self.0.values().filter(|byte| byte.physical == physical);
        let [found] = found;
        let original = known.next().map_or(found, |byte| byte.original);
        let is_written = ram.write_bytes(GuestAddress(physical), &[INT3]).is_ok();
        if is_written {
            self.0.insert(linear, Byte { physical, original });
        }
        is_written
    }

    /// Takes that at `linear` away. `false` where there is none.
    pub(crate) fn remove(&mut self, machine: &impl Debugged, linear: u64) -> bool {
        let Some(byte) = self.0.remove(&linear) else {
            return false;
        };
        if !self.is_at(byte.physical) {
            restore(machine, byte);
        }
        true
    }

    /// Takes all away.
    pub(crate) fn clear(&mut self, machine: &impl Debugged) {
        for byte in std::mem::take(&mut self.0).into_values() {
            restore(machine, byte);
        }
    }

    /// Forgets all: the guest's RAM is another.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }

    /// Puts what the guest has there into `bytes`, which were read from `pieces`.
    pub(crate) fn hide(&self, pieces: &[Piece], bytes: &mut [u8]) {
        for (index, byte) in self.within(pieces) {
            if let Some(shown) = bytes.get_mut(index) {
                *shown = byte.original;
            }
        }
    }

    /// The bytes to be written to `pieces` for `bytes`; those in a breakpoint's place are kept for when it
    /// goes.
    pub(crate) fn keep(&mut self, pieces: &[Piece], bytes: &mut [u8]) {
        for (index, place) in self.within(pieces) {
            let Some(written) = bytes.get_mut(index) else {
                continue;
            };
            let mut same = self.0.values_mut().filter(|b| b.physical == place.physical);
            same.by_ref().for_each(|byte| byte.original = *written);
            *written = INT3;
        }
    }

    /// Those in `pieces`, with the index of their byte in all of them.
    fn within(&self, pieces: &[Piece]) -> Vec<(usize, Byte)> {
        let mut found = Vec::new();
        let mut start = 0;
        for piece in pieces {
            for byte in self.0.values() {
                let offset = byte.physical.wrapping_sub(piece.physical);
                if offset < piece.length as u64 {
                    found.push((start + offset as usize, *byte));
                }
            }
            start += piece.length;
        }
        found
    }
}

/// Unless the guest has written something else there since.
fn restore(machine: &impl Debugged, byte: Byte) {
    let at = GuestAddress(byte.physical);
    let mut found = [0];
    if machine.ram().read_bytes(at, &mut found).is_ok() && found == [INT3] {
        // It was RAM a moment ago.
        let _ = machine.ram().write_bytes(at, &[byte.original]);
    }
}

/// Addresses watched by debug registers.
#[derive(Debug, Default)]
pub(crate) struct Watched([Option<Watch>; DEBUG_ADDRESSES]);

/// A watch that a client wants; one that is not aligned, or long, takes several registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) address: u64,
    pub(crate) length: u64,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Execute,
    Data(WatchKind),
}

#[derive(Clone, Copy, Debug)]
struct Watch {
    wish: Wish,
    place: HardwareBreakpoint,
}

impl Watched {
    /// Watches for `wish`; `false` where the registers do not suffice.
    pub(crate) fn add(&mut self, wish: Wish) -> bool {
        if self.0.iter().flatten().any(|watch| watch.wish == wish) {
            return true;
        }
        let Some(places) = wish.places() else {
            return false;
        };
        let mut free = self.0.iter_mut().filter(|slot| slot.is_none());
        let slots: Vec<_> = free.by_ref().take(places.len()).collect();
        if slots.len() < places.len() {
            return false;
        }
        for (slot, place) in slots.into_iter().zip(places) {
            *slot = Some(Watch { wish, place });
        }
        true
    }

    /// Watches for `wish` no more; `false` if it did not.
    pub(crate) fn remove(&mut self, wish: Wish) -> bool {
        let mut is_found = false;
        for slot in &mut self.0 {
            if slot.is_some_and(|watch| watch.wish == wish) {
                *slot = None;
                is_found = true;
            }
        }
        is_found
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The watch of debug register `index`.
    pub(crate) fn wish(&self, index: usize) -> Option<Wish> {
        self.0.get(index).copied().flatten().map(|watch| watch.wish)
    }

    /// As the hypervisor takes it.
    pub(crate) fn hardware(&self) -> [Option<HardwareBreakpoint>; DEBUG_ADDRESSES] {
        self.0.map(|slot| slot.map(|watch| watch.place))
    }
}

impl Wish {
    /// The aligned pieces of 1, 2, 4 or 8 bytes; `None` where they are too many.
    fn places(&self) -> Option<Vec<HardwareBreakpoint>> {
        let access = match self.kind {
            Kind::Execute => WatchedAccess::Execute,
            Kind::Data(WatchKind::Write) => WatchedAccess::Write,
            // The CPU cannot watch for reads alone.
            Kind::Data(WatchKind::Read | WatchKind::ReadWrite) => WatchedAccess::ReadWrite,
        };
        let (mut address, mut left) = (self.address, self.length);
        let mut places = Vec::new();
        while left > 0 {
            let fits = |&length: &u64| length <= left && address.is_multiple_of(length);
            let length = [8, 4, 2].into_iter().find(fits).unwrap_or(1);
            places.push(HardwareBreakpoint {
                address,
                access,
                length: length as u8,
            });
            if places.len() > DEBUG_ADDRESSES {
                return None;
            }
            address = address.wrapping_add(length);
            left -= length;
        }
        (!places.is_empty()).then_some(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(address: u64, length: u64) -> Wish {
        let kind = Kind::Data(WatchKind::Write);
        Wish {
            address,
            length,
            kind,
        }
    }

    #[test]
    fn what_is_not_aligned_takes_several_registers() {
        let places = |address, length| {
            let places = wish(address, length).places()?;
            let places = places.iter().map(|place| (place.address, place.length));
            Some(places.collect::<Vec<_>>())
        };
        assert_eq!(places(0x1000, 8), Some(vec![(0x1000, 8)]));
        assert_eq!(places(0x1003, 3), Some(vec![(0x1003, 1), (0x1004, 2)]));
        assert_eq!(places(0x1000, 40), None);
        assert_eq!(places(u64::MAX, u64::MAX), None);
        assert_eq!(places(0, 0), None);
    }

    #[test]
    fn there_are_four_registers() {
        let mut watched = Watched::default();
        assert!(watched.add(wish(0x1003, 3)));
        assert!(watched.add(wish(0x1003, 3)), "it is there");
        assert!(!watched.add(wish(0x1001, 4)), "it takes three");
        assert!(watched.add(wish(0x2000, 4)));
        assert!(watched.add(wish(0x3000, 1)));
        assert!(!watched.add(wish(0x4000, 1)));
        assert!(watched.remove(wish(0x1003, 3)));
        assert!(!watched.remove(wish(0x1003, 3)));
        assert!(watched.add(wish(0x4000, 1)));
    }
}
