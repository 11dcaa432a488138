//! The bus: plugging, unplugging, and access for those without a view of their own.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};

use crate::hint::NoHint;
use crate::map::Map;
use crate::tally::{Names, NoCount, Tally};
use crate::unclaimed::UnclaimedCounters;
use crate::{AccessCounter, AddressRange, BusView, Mmio, PlugError, Ports, Space, Unclaimed};

/// The bus of the I/O ports.
pub type PortBus = Bus<Ports>;
/// The bus of the addresses that are not RAM.
pub type MmioBus = Bus<Mmio>;

/// Which device owns which addresses of one space.
///
/// Any thread may call anything at any time. The map of the bus is immutable: a change publishes
/// a new one, and accesses take no lock. An access that runs while a device is unplugged may
/// still reach it; one that begins after [`unplug`](Self::unplug) returned (and knows it: the same
/// thread, or one that was told) does not. A device may plug and unplug, itself too, from within
/// an access.
pub struct Bus<S: Space> {
    pub(crate) map: Arc<ArcSwap<Map<S>>>,
    /// Held to change the map; never while a device is called.
    change: Mutex<Names>,
    pub(crate) unclaimed: UnclaimedCounters,
}

/// A device with its name and its range: what goes into a bus.
pub struct Plug<S: Space> {
    /// Its name, in messages.
    pub name: Arc<str>,
    /// The range it owns.
    pub range: AddressRange,
    /// The device.
    pub device: Arc<S::Device>,
}

/// An entry of the map, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionInfo {
    /// The owner's name.
    pub name: Arc<str>,
    /// Where it is.
    pub range: AddressRange,
}

impl<S: Space> Bus<S> {
    /// A bus without devices.
    pub fn new() -> Self {
        Self {
            map: Arc::new(ArcSwap::from_pointee(Map::empty())),
            change: Mutex::new(Names::new()),
            unclaimed: UnclaimedCounters::default(),
        }
    }

    /// Plugs `device` at `range`. A device with several ranges is plugged once for each; it is
    /// told by the base which of them is meant.
    ///
    /// # Errors
    /// [`PlugError`]: an empty range, one that leaves the space, or one that is taken.
    pub fn plug(
        &self,
        name: impl Into<Arc<str>>,
        range: AddressRange,
        device: Arc<S::Device>,
    ) -> Result<(), PlugError> {
        self.plug_all(vec![Plug {
            name: name.into(),
            range,
            device,
        }])
    }

    /// Plugs all of `plugs`, or none.
    ///
    /// # Errors
    /// The first one that cannot be plugged; see [`plug`](Self::plug).
    pub fn plug_all(&self, plugs: Vec<Plug<S>>) -> Result<(), PlugError> {
        let mut names = self.lock();
        let mut map = Map::empty();
        for plug in self.map.load().regions().cloned().chain(plugs) {
            map = map.with(plug, &mut names)?;
        }
        self.map.store(Arc::new(map));
        Ok(())
    }

    /// Takes the device whose range begins at `base` from the bus.
    pub fn unplug(&self, base: u64) -> Option<Plug<S>> {
        let mut names = self.lock();
        let (map, plug) = self.map.load().without(base, &mut names)?;
        self.map.store(Arc::new(map));
        Some(plug)
    }

    /// The regions, lowest first.
    pub fn regions(&self) -> Vec<RegionInfo> {
        let info = |plug: &Plug<S>| RegionInfo {
            name: plug.name.clone(),
            range: plug.range,
        };
        self.map.load().regions().map(info).collect()
    }

    /// Reads from whoever owns the `data.len()` bytes at `address`; a vCPU thread does so through
    /// its [`BusView`], which is faster.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        self.map
            .load()
            .read(&mut NoHint, (&NoCount, &self.unclaimed), address, data);
    }

    /// Writes to whoever owns the `data.len()` bytes at `address`.
    pub fn write(&self, address: u64, data: &[u8]) {
        self.map
            .load()
            .write(&mut NoHint, (&NoCount, &self.unclaimed), address, data);
    }

    /// The accesses so far that no device answered.
    pub fn unclaimed(&self) -> Unclaimed {
        self.unclaimed.snapshot()
    }

    /// A view for one thread, which sees every later change.
    pub fn view(self: &Arc<Self>) -> BusView<S> {
        self.counter().view()
    }

    /// The counter of one view's accesses, and of those of its successors.
    pub fn counter(self: &Arc<Self>) -> AccessCounter<S> {
        AccessCounter::new(self, &Arc::new(Tally::new()))
    }

    /// The names that have been on the bus.
    pub(crate) fn names(&self) -> Names {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.change.lock()
    }
}

impl<S: Space> Default for Bus<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Space> fmt::Debug for Bus<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus")
            .field("regions", &self.regions())
            .field("unclaimed", &self.unclaimed())
            .finish()
    }
}

impl<S: Space> Plug<S> {
    /// `device` as `name` at `range`.
    pub fn new(name: impl Into<Arc<str>>, range: AddressRange, device: Arc<S::Device>) -> Self {
        Self {
            name: name.into(),
            range,
            device,
        }
    }
}

impl<S: Space> Clone for Plug<S> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            range: self.range,
            device: self.device.clone(),
        }
    }
}

impl<S: Space> fmt::Debug for Plug<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plug")
            .field("name", &self.name)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
