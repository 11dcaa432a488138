//! Accesses by owner, counted by each view for itself.

use std::fmt;
use std::sync::Arc;

use vmmkit_telemetry::Counter;

use crate::{Bus, BusView, Space};

/// How many owners are told apart. The last number is that of all others.
const OWNERS: usize = 64;

/// The number of what nobody owns.
pub(crate) const NOBODY: u8 = 0;

/// Which way an access goes.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    Read,
    Write,
}

/// The names that have been on a bus; their places are the owners' numbers. A device that moves or
/// comes back keeps its number, and its count.
#[derive(Clone, Debug)]
pub(crate) struct Names(Vec<Arc<str>>);

impl Names {
    pub(crate) fn new() -> Self {
        Self(vec!["unclaimed".into()])
    }

    /// The number of `name`.
    pub(crate) fn number(&mut self, name: &Arc<str>) -> u8 {
        let last = OWNERS - 1;
        let known = self.0.iter().position(|known| known == name);
        let place = known.unwrap_or_else(|| {
            match self.0.len() {
                full if full >= last => {}
                _ => self.0.push(name.clone()),
            }
            self.0.len() - usize::from(self.0.len() < last)
        });
        // At most 63.
        place.min(last) as u8
    }
}

/// Something that counts accesses.
pub(crate) trait Count {
    /// One access to owner `number`.
    fn access(&self, number: u8, way: Way);
    /// So many of them came by one exit more than one.
    fn repeats(&self, way: Way, more: usize);
}

/// Nobody counts.
pub(crate) struct NoCount;

impl Count for NoCount {
    #[inline]
    fn access(&self, _number: u8, _way: Way) {}
    #[inline]
    fn repeats(&self, _way: Way, _more: usize) {}
}

/// The counts of one view. Its thread counts, any thread reads.
#[derive(Debug)]
pub(crate) struct Tally {
    owners: [[Counter; 2]; OWNERS],
    repeats: [Counter; 2],
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            owners: std::array::from_fn(|_| Default::default()),
            repeats: Default::default(),
        }
    }
}

impl Count for Tally {
    #[inline(always)]
    fn access(&self, number: u8, way: Way) {
        // The remainder changes no number, and makes the place one that is there without a test.
        let Some([reads, writes]) = self.owners.get(usize::from(number) % OWNERS) else {
            return;
        };
        match way {
            Way::Read => reads.increment(),
            Way::Write => writes.increment(),
        }
    }

    #[cold]
    fn repeats(&self, way: Way, more: usize) {
        let [reads, writes] = &self.repeats;
        match way {
            Way::Read => reads.add(more as u64),
            Way::Write => writes.add(more as u64),
        }
    }
}

/// The accesses of one [`BusView`](crate::BusView), for other threads to look at.
pub struct AccessCounter<S: Space> {
    bus: Arc<Bus<S>>,
    tally: Arc<Tally>,
}

/// Accesses of one view so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessCounts {
    /// Reads the guest did: an instruction that repeats, or that reaches two devices, is one.
    pub reads: u64,
    /// Writes, likewise.
    pub writes: u64,
    /// The owners accessed, in the order they were first plugged in. Accesses that nobody owns come first, as
    /// `unclaimed`.
    pub owners: Vec<OwnerAccesses>,
}

/// Accesses to one device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnerAccesses {
    /// Its name.
    pub name: Arc<str>,
    /// Reads of it.
    pub reads: u64,
    /// Writes to it.
    pub writes: u64,
}

impl<S: Space> AccessCounter<S> {
    pub(crate) fn new(bus: &Arc<Bus<S>>, tally: &Arc<Tally>) -> Self {
        Self {
            bus: bus.clone(),
            tally: tally.clone(),
        }
    }

    /// A view for one thread, whose accesses are counted here. The one before it is to be gone: two
    /// that are used at once lose counts.
    pub fn view(&self) -> BusView<S> {
        BusView::new(&self.bus, &self.tally)
    }

    /// The accesses so far, of devices that were accessed.
    pub fn counts(&self) -> AccessCounts {
        let mut counts = AccessCounts::default();
        let mut names = self.bus.names();
        names.0.resize(OWNERS, "others".into());
        for (name, [reads, writes]) in names.0.into_iter().zip(&self.tally.owners) {
            let (reads, writes) = (reads.value(), writes.value());
            if reads + writes > 0 {
                counts.reads += reads;
                counts.writes += writes;
                counts.owners.push(OwnerAccesses {
                    name,
                    reads,
                    writes,
                });
            }
        }
        let [reads, writes] = &self.tally.repeats;
        counts.reads = counts.reads.saturating_sub(reads.value());
        counts.writes = counts.writes.saturating_sub(writes.value());
        counts
    }
}

impl<S: Space> Clone for AccessCounter<S> {
    fn clone(&self) -> Self {
        Self::new(&self.bus, &self.tally)
    }
}

impl<S: Space> fmt::Debug for AccessCounter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AccessCounter")
            .field(&self.counts())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AddressRange, DevicePio, PioAddress, PioAddressOffset, PortBus};

    struct Device;

    impl DevicePio for Device {
        fn pio_read(&self, _: PioAddress, _: PioAddressOffset, _: &mut [u8]) {}
        fn pio_write(&self, _: PioAddress, _: PioAddressOffset, _: &[u8]) {}
    }

    fn bus() -> Arc<PortBus> {
        let bus = Arc::new(PortBus::new());
        for (name, base) in [("a", 0x10), ("b", 0x12), ("a", 0x20)] {
            let range = AddressRange::new(base, 2);
            bus.plug(name, range, Arc::new(Device)).unwrap();
        }
        bus
    }

    fn told(counts: &AccessCounts) -> Vec<(&str, u64, u64)> {
        let owners = counts.owners.iter();
        owners.map(|o| (&*o.name, o.reads, o.writes)).collect()
    }

    #[test]
    fn each_view_counts_by_device_and_a_device_may_have_two_ranges() {
        let bus = bus();
        let (mut view, mut other) = (bus.view(), bus.view());
        let counter = view.counter();
        view.read(0x10, &mut [0]);
        view.write(0x20, &[0]);
        view.write(0x13, &[0]);
        view.write(0x99, &[0]);
        other.read(0x10, &mut [0]);
        let counts = counter.counts();
        assert_eq!(
            told(&counts),
            [("unclaimed", 0, 1), ("a", 1, 1), ("b", 0, 1)]
        );
        assert_eq!((counts.reads, counts.writes), (1, 3));
    }

    #[test]
    fn one_exit_may_be_several_accesses() {
        let bus = bus();
        let mut view = bus.view();
        let counter = view.counter();
        view.write_string(0x10, 1, &[0; 5]);
        view.read(0x11, &mut [0; 2]);
        let counts = counter.counts();
        assert_eq!(told(&counts), [("a", 1, 5), ("b", 1, 0)]);
        assert_eq!((counts.reads, counts.writes), (1, 1));
    }

    #[test]
    fn a_device_that_moves_keeps_its_count() {
        let bus = bus();
        let mut view = bus.view();
        view.read(0x12, &mut [0]);
        let plug = bus.unplug(0x12).unwrap();
        view.read(0x12, &mut [0]);
        bus.plug("b", AddressRange::new(0x40, 2), plug.device)
            .unwrap();
        view.read(0x40, &mut [0]);
        let counts = view.counter().counts();
        assert_eq!(told(&counts), [("unclaimed", 1, 0), ("b", 2, 0)]);
    }

    #[test]
    fn more_names_than_there_are_numbers_share_the_last() {
        let bus = Arc::new(PortBus::new());
        for index in 0..200u64 {
            let range = AddressRange::new(index, 1);
            bus.plug(format!("d{index}"), range, Arc::new(Device))
                .unwrap();
        }
        let mut view = bus.view();
        for port in 0..200 {
            view.read(port, &mut [0]);
        }
        let counts = view.counter().counts();
        assert_eq!(counts.reads, 200);
        assert_eq!(counts.owners.len(), 63);
        let last = counts.owners.last().unwrap();
        assert_eq!((&*last.name, last.reads), ("others", 138));
    }
}
