//! The immutable map of a bus, and dispatch over it.

use crate::hint::Hint;
use crate::tally::{Count, NOBODY, Names, Way};
use crate::unclaimed::UnclaimedCounters;
use crate::{AddressRange, Plug, PlugError, Space};

/// The owners of the whole space, cut into spans that have one owner each, or none. A bus replaces
/// it whole; those who still read the old one finish there.
pub(crate) struct Map<S: Space> {
    /// First address of each span, lowest first: all that a search touches.
    bases: Vec<u64>,
    /// The spans in the same order, with nothing between them.
    spans: Vec<Span<S>>,
}

/// A range of addresses with one owner, or without any.
struct Span<S: Space> {
    base: u64,
    /// A span is at most 2^64 bytes, so its last address is kept, not its length.
    last: u64,
    owner: Option<Plug<S>>,
    /// The owner's number in a tally.
    number: u8,
}

impl<S: Space> Map<S> {
    pub(crate) fn empty() -> Self {
        Self::of(Vec::new(), &mut Names::new())
    }

    pub(crate) fn regions(&self) -> impl Iterator<Item = &Plug<S>> {
        self.spans.iter().filter_map(|span| span.owner.as_ref())
    }

    /// This map with `plug` in it.
    pub(crate) fn with(&self, plug: Plug<S>, names: &mut Names) -> Result<Self, PlugError> {
        check::<S>(&plug)?;
        if let Some(there) = self
            .regions()
            .find(|there| there.range.overlaps(&plug.range))
        {
            return Err(PlugError::Conflict {
                name: plug.name,
                range: plug.range,
                owner: there.name.clone(),
                owner_range: there.range,
            });
        }
        let regions = self.regions().cloned().chain([plug]);
        Ok(Self::of(regions.collect(), names))
    }

    /// This map without the region that begins at `base`, and that region.
    pub(crate) fn without(&self, base: u64, names: &mut Names) -> Option<(Self, Plug<S>)> {
        let mut regions: Vec<_> = self.regions().cloned().collect();
        let index = regions
            .iter()
            .position(|region| region.range.base == base)?;
        let removed = regions.remove(index);
        Some((Self::of(regions, names), removed))
    }

    /// The map of `regions`, which are inside the space and do not overlap.
    fn of(mut regions: Vec<Plug<S>>, names: &mut Names) -> Self {
        regions.sort_unstable_by_key(|region| region.range.base);
        let mut spans = Vec::with_capacity(regions.len() * 2 + 1);
        let mut next = Some(0);
        for owner in regions {
            let base = owner.range.base;
            let last = owner.range.last().unwrap_or(S::LAST);
            spans.extend(gap(next, base.checked_sub(1)));
            spans.push(Span {
                base,
                last,
                number: names.number(&owner.name),
                owner: Some(owner),
            });
            next = last.checked_add(1);
        }
        spans.extend(gap(next, Some(S::LAST)));
        Self {
            bases: spans.iter().map(|span| span.base).collect(),
            spans,
        }
    }

    /// Reads `data.len()` bytes. `hint` says which span to try first.
    #[inline]
    pub(crate) fn read(
        &self,
        hint: &mut impl Hint,
        count: (&impl Count, &UnclaimedCounters),
        address: u64,
        data: &mut [u8],
    ) {
        let (tally, unclaimed) = count;
        let span = self.sole_span(hint, address, data.len());
        if let Some(span) = span {
            tally.access(span.number, Way::Read);
        }
        match span {
            Some(Span {
                owner: Some(region),
                base,
                ..
            }) => {
                S::read(&region.device, *base, address - base, data);
            }
            Some(_) => {
                answer_with_ones(data);
                unclaimed.count_read(address);
            }
            None => self.read_in_parts(count, address, data),
        }
    }

    /// Writes `data`. `hint` says which span to try first.
    #[inline]
    pub(crate) fn write(
        &self,
        hint: &mut impl Hint,
        count: (&impl Count, &UnclaimedCounters),
        address: u64,
        data: &[u8],
    ) {
        let (tally, unclaimed) = count;
        let span = self.sole_span(hint, address, data.len());
        if let Some(span) = span {
            tally.access(span.number, Way::Write);
        }
        match span {
            Some(Span {
                owner: Some(region),
                base,
                ..
            }) => {
                S::write(&region.device, *base, address - base, data);
            }
            Some(_) => unclaimed.count_write(address),
            None => self.write_in_parts(count, address, data),
        }
    }

    /// The span that holds all of `length` bytes at `address`, of which there is at least one.
    #[inline]
    fn sole_span(&self, hint: &mut impl Hint, address: u64, length: usize) -> Option<&Span<S>> {
        let length = length as u64;
        let key = address >> S::GRANULE_BITS;
        let guess = self.spans.get(hint.guess(key));
        if let Some(span) = guess.filter(|span| span.holds(address, length)) {
            return Some(span);
        }
        self.search(hint, key, address, length)
    }

    /// Searches where the hint does not know.
    #[inline(never)]
    fn search(
        &self,
        hint: &mut impl Hint,
        key: u64,
        address: u64,
        length: u64,
    ) -> Option<&Span<S>> {
        let index = self.index_at_or_below(address)?;
        let span = self
            .spans
            .get(index)
            .filter(|span| span.holds(address, length))?;
        hint.learn(key, index);
        Some(span)
    }

    fn index_at_or_below(&self, address: u64) -> Option<usize> {
        self.bases
            .partition_point(|&base| base <= address)
            .checked_sub(1)
    }

    #[cold]
    fn read_in_parts(
        &self,
        (tally, unclaimed): (&impl Count, &UnclaimedCounters),
        address: u64,
        data: &mut [u8],
    ) {
        let mut parts = 0;
        let mut next = Some(address);
        let mut left = data;
        while !left.is_empty() {
            let part = self.part(next, left.len());
            let Some((now, rest)) = left.split_at_mut_checked(part.length) else {
                return;
            };
            tally.access(part.number, Way::Read);
            parts += 1;
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
        tally.repeats(Way::Read, usize::saturating_sub(parts, 1));
    }

    #[cold]
    fn write_in_parts(
        &self,
        (tally, unclaimed): (&impl Count, &UnclaimedCounters),
        address: u64,
        data: &[u8],
    ) {
        let mut parts = 0;
        let mut next = Some(address);
        let mut left = data;
        while !left.is_empty() {
            let part = self.part(next, left.len());
            let Some((now, rest)) = left.split_at_checked(part.length) else {
                return;
            };
            tally.access(part.number, Way::Write);
            parts += 1;
            match part.owner {
                Some((region, offset)) => S::write(&region.device, region.range.base, offset, now),
                None => unclaimed.count_write(next.unwrap_or(S::LAST)),
            }
            left = rest;
            next = next.and_then(|address| address.checked_add(part.length as u64));
        }
        tally.repeats(Way::Write, usize::saturating_sub(parts, 1));
    }

    /// The longest part of `length` bytes from `address` that has one owner, or none. Past the
    /// last address, which is `None` past 64 bits, there is no owner.
    fn part(&self, address: Option<u64>, length: usize) -> Part<'_, S> {
        let span = address
            .and_then(|address| Some((address, self.spans.get(self.index_at_or_below(address)?)?)))
            .filter(|(address, span)| *address <= span.last);
        let Some((address, span)) = span else {
            return Part {
                owner: None,
                number: NOBODY,
                length,
            };
        };
        let owner = span
            .owner
            .as_ref()
            .map(|region| (region, address - span.base));
        // Nothing past the space has an owner either: one part with its last gap.
        let whole = owner.is_none() && span.last == S::LAST;
        Part {
            owner,
            number: span.number,
            length: if whole {
                length
            } else {
                clamp(span.last - address, length)
            },
        }
    }
}

/// The span without an owner from `next` to `last`, if there is any address in it.
fn gap<S: Space>(next: Option<u64>, last: Option<u64>) -> Option<Span<S>> {
    let (base, last) = (next?, last?);
    (base <= last).then_some(Span {
        base,
        last,
        owner: None,
        number: NOBODY,
    })
}

/// A part of an access.
struct Part<'a, S: Space> {
    /// Its owner, and the offset in the owner's range.
    owner: Option<(&'a Plug<S>, u64)>,
    /// The owner's number in a tally.
    number: u8,
    /// At least 1.
    length: usize,
}

/// Reads as all ones where nobody is. A byte, which is what guests mostly probe, does without the 20
/// instructions of a memset; out of line, as the exit path would be laid out round this case.
#[inline(never)]
fn answer_with_ones(data: &mut [u8]) {
    match data {
        [byte] => *byte = 0xff,
        data => data.fill(0xff),
    }
}

/// `length`, or as much of it as there is up to the address `after` bytes on.
fn clamp(after: u64, length: usize) -> usize {
    usize::try_from(after).map_or(length, |after| length.min(after.saturating_add(1)))
}

impl<S: Space> Span<S> {
    /// Whether the span holds all of `length` bytes at `address`; never for none.
    #[inline]
    fn holds(&self, address: u64, length: u64) -> bool {
        let offset = address.wrapping_sub(self.base);
        let most = self.last - self.base;
        // An address below the base makes an offset past any length.
        offset <= most && length.wrapping_sub(1) <= most - offset
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
