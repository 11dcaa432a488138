//! A bus as one thread sees it.

use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

use crate::hint::Hints;
use crate::map::Map;
use crate::tally::{Count, Tally, Way};
use crate::{AccessCounter, Bus, Ports, Space};

/// A bus as one vCPU thread sees it: it keeps the current map at hand and remembers which addresses
/// led to which devices, so that an access costs one comparison of pointers, one of ranges, and
/// the call. Changes of the bus are seen by the next access.
///
/// Its methods are part of a vCPU's exit path, so they become part of the caller, always: an access
/// takes some 40 instructions, and a call that saves registers would add 20.
pub struct BusView<S: Space> {
    bus: Arc<Bus<S>>,
    map: Cache<Arc<ArcSwap<Map<S>>>, Arc<Map<S>>>,
    hints: Hints,
    tally: Arc<Tally>,
}

impl<S: Space> BusView<S> {
    pub(crate) fn new(bus: &Arc<Bus<S>>, tally: &Arc<Tally>) -> Self {
        Self {
            bus: bus.clone(),
            map: Cache::new(bus.map.clone()),
            hints: Hints::new(),
            tally: tally.clone(),
        }
    }

    /// The bus that this is a view of.
    pub fn bus(&self) -> &Arc<Bus<S>> {
        &self.bus
    }

    /// Counts the accesses of the view, from now on and so far.
    pub fn counter(&self) -> AccessCounter<S> {
        AccessCounter::new(&self.bus, &self.tally)
    }

    /// Reads from whoever owns the `data.len()` bytes at `address`.
    #[inline(always)]
    pub fn read(&mut self, address: u64, data: &mut [u8]) {
        let count = (&*self.tally, &self.bus.unclaimed);
        self.map.load().read(&mut self.hints, count, address, data);
    }

    /// Writes to whoever owns the `data.len()` bytes at `address`.
    #[inline(always)]
    pub fn write(&mut self, address: u64, data: &[u8]) {
        let count = (&*self.tally, &self.bus.unclaimed);
        self.map.load().write(&mut self.hints, count, address, data);
    }
}

impl BusView<Ports> {
    /// Reads as IN and INS do: one access of `width` bytes after the other, all at `port`, until
    /// `data` is full. A rest shorter than `width` is one access more; a width of 0 is 1.
    #[inline(always)]
    pub fn read_string(&mut self, port: u16, width: usize, data: &mut [u8]) {
        if data.len() == width {
            return self.read(u64::from(port), data);
        }
        self.read_accesses(port, width, data);
    }

    /// Out of line, so that the plain case is small enough to be inlined.
    #[inline(never)]
    fn read_accesses(&mut self, port: u16, width: usize, data: &mut [u8]) {
        let accesses = data.chunks_mut(width.max(1));
        let repeats = accesses.len().saturating_sub(1);
        for access in accesses {
            self.read(u64::from(port), access);
        }
        self.tally.repeats(Way::Read, repeats);
    }

    /// Writes as OUT and OUTS do: one access of `width` bytes after the other, all at `port`. A
    /// rest shorter than `width` is one access more; a width of 0 is 1.
    #[inline(always)]
    pub fn write_string(&mut self, port: u16, width: usize, data: &[u8]) {
        if data.len() == width {
            return self.write(u64::from(port), data);
        }
        self.write_accesses(port, width, data);
    }

    #[inline(never)]
    fn write_accesses(&mut self, port: u16, width: usize, data: &[u8]) {
        let accesses = data.chunks(width.max(1));
        let repeats = accesses.len().saturating_sub(1);
        for access in accesses {
            self.write(u64::from(port), access);
        }
        self.tally.repeats(Way::Write, repeats);
    }
}

impl<S: Space> Clone for BusView<S> {
    fn clone(&self) -> Self {
        self.bus.view()
    }
}

impl<S: Space> fmt::Debug for BusView<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusView")
            .field("bus", &self.bus)
            .finish_non_exhaustive()
    }
}
