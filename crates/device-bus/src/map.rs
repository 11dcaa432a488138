//! The immutable map of a bus, and dispatch over it.

use crate::hint::Hint;
use crate::unclaimed::UnclaimedCounters;
use crate::{AddressRange, Plug, PlugError, Space};

/// Who owns what, sorted. A bus replaces it whole; those who still read the old one finish there.
pub(crate) struct Map<S: Space> {
    /// First address of each region, lowest first: all that a search touches.
    bases: Vec<u64>,
    /// The regions in the same order; no two overlap.
    regions: Vec<Plug<S>>,
}

impl<S: Space> Map<S> {
    pub(crate) const fn empty() -> Self {
        Self {
            bases: Vec::new(),
            regions: Vec::new(),
        }
    }

    pub(crate) fn regions(&self) -> &[Plug<S>] {
        &self.regions
    }

    /// This map with `plug` in it.
    pub(crate) fn with(&self, plug: Plug<S>) -> Result<Self, PlugError> {
        check::<S>(&plug)?;
        if let Some(there) = self
            .regions
            .iter()
            .find(|there| there.range.overlaps(&plug.range))
        {
            return Err(PlugError::Conflict {
                name: plug.name,
                range: plug.range,
                owner: there.name.clone(),
                owner_range: there.range,
            });
        }
        let mut regions = self.regions.clone();
        regions.insert(
            self.bases.partition_point(|&base| base < plug.range.base),
            plug,
        );
        Ok(Self::of(regions))
    }

    /// This map without the region that begins at `base`, and that region.
    pub(crate) fn without(&self, base: u64) -> Option<(Self, Plug<S>)> {
        let index = self.bases.binary_search(&base).ok()?;
        let mut regions = self.regions.clone();
        let removed = regions.remove(index);
        Some((Self::of(regions), removed))
    }

    fn of(regions: Vec<Plug<S>>) -> Self {
        Self {
            bases: regions.iter().map(|region| region.range.base).collect(),
            regions,
        }
    }

    /// Reads `data.len()` bytes. `hint` says which region to try first.
    #[inline]
    pub(crate) fn read(
        &self,
        hint: &mut impl Hint,
        unclaimed: &UnclaimedCounters,
        address: u64,
        data: &mut [u8],
    ) {
        match self.sole_owner(hint, address, data.len()) {
            Some(region) => {
                S::read(
                    &region.device,
                    region.range.base,
                    address - region.range.base,
                    data,
                );
            }
            None => self.read_in_parts(unclaimed, address, data),
        }
    }

    /// Writes `data`. `hint` says which region to try first.
    #[inline]
    pub(crate) fn write(
        &self,
        hint: &mut impl Hint,
        unclaimed: &UnclaimedCounters,
        address: u64,
        data: &[u8],
    ) {
        match self.sole_owner(hint, address, data.len()) {
            Some(region) => {
                S::write(
                    &region.device,
                    region.range.base,
                    address - region.range.base,
                    data,
                );
            }
            None => self.write_in_parts(unclaimed, address, data),
        }
    }

    /// The region that owns all of `length` bytes at `address`, of which there is at least one.
    #[inline]
    fn sole_owner(&self, hint: &mut impl Hint, address: u64, length: usize) -> Option<&Plug<S>> {
        let length = length as u64;
        let key = address >> S::GRANULE_BITS;
        let guess = self.regions.get(hint.guess(key));
        if let Some(region) = guess.filter(|region| region.owns(address, length)) {
            return Some(region);
        }
        let index = self.index_at_or_below(address)?;
        let region = self
            .regions
            .get(index)
            .filter(|region| region.owns(address, length))?;
        hint.learn(key, index);
        Some(region)
    }

    #[inline]
    fn index_at_or_below(&self, address: u64) -> Option<usize> {
        self.bases
            .partition_point(|&base| base <= address)
            .checked_sub(1)
    }

    #[cold]
    fn read_in_parts(&self, unclaimed: &UnclaimedCounters, address: u64, data: &mut [u8]) {
        let mut next = Some(address);
        let mut left = data;
        while !left.is_empty() {
            let part = self.part(next, left.len());
            let Some((now, rest)) = left.split_at_mut_checked(part.length) else {
                return;
            };
            match part.owner {
                Some((region, offset)) => S::read(&region.device, region.range.base, offset, now),
                None => {
                    now.fill(0xff);
                    unclaimed.count_read(next.unwrap_or(S::LAST));
                }
            }
            left = rest;
            next = next.and_then(|address| address.checked_add(part.length as u64));
        }
    }

    #[cold]
    fn write_in_parts(&self, unclaimed: &UnclaimedCounters, address: u64, data: &[u8]) {
        let mut next = Some(address);
        let mut left = data;
        while !left.is_empty() {
            let part = self.part(next, left.len());
            let Some((now, rest)) = left.split_at_checked(part.length) else {
                return;
            };
            match part.owner {
                Some((region, offset)) => S::write(&region.device, region.range.base, offset, now),
                None => unclaimed.count_write(next.unwrap_or(S::LAST)),
            }
            left = rest;
            next = next.and_then(|address| address.checked_add(part.length as u64));
        }
    }

    /// The longest part of `length` bytes from `address` that has one owner, or none. Past the
    /// last address, which is `None` past 64 bits, there is no owner.
    fn part(&self, address: Option<u64>, length: usize) -> Part<'_, S> {
        let Some(address) = address else {
            return Part {
                owner: None,
                length,
            };
        };
        let below = self.index_at_or_below(address);
        let owner = below.and_then(|index| self.regions.get(index));
        if let Some(region) = owner.filter(|region| region.range.contains(address)) {
            let offset = address - region.range.base;
            let length = clamp(region.range.length - offset, length);
            return Part {
                owner: Some((region, offset)),
                length,
            };
        }
        let next = self.bases.get(below.map_or(0, |index| index + 1));
        let left = next.map_or(u64::MAX, |base| base - address);
        Part {
            owner: None,
            length: clamp(left, length),
        }
    }
}

/// A part of an access.
struct Part<'a, S: Space> {
    /// Its owner, and the offset in the owner's range.
    owner: Option<(&'a Plug<S>, u64)>,
    /// At least 1.
    length: usize,
}

fn clamp(left: u64, length: usize) -> usize {
    usize::try_from(left).map_or(length, |left| left.min(length))
}

impl<S: Space> Plug<S> {
    /// Whether the range holds all of `length` bytes at `address`; never for none.
    #[inline]
    fn owns(&self, address: u64, length: u64) -> bool {
        let offset = address.wrapping_sub(self.range.base);
        // An address below the base makes an offset past any length.
        offset < self.range.length && length.wrapping_sub(1) < self.range.length - offset
    }
}

fn check<S: Space>(plug: &Plug<S>) -> Result<(), PlugError> {
    let AddressRange { base, length } = plug.range;
    if length == 0 {
        return Err(PlugError::Empty {
            name: plug.name.clone(),
            base,
        });
    }
    if plug.range.last().is_none_or(|last| last > S::LAST) {
        return Err(PlugError::PastEnd {
            name: plug.name.clone(),
            range: plug.range,
            addresses: S::ADDRESSES,
            last: S::LAST,
        });
    }
    Ok(())
}
