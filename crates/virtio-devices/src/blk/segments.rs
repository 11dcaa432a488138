//! A part of a list of segments.

use vmmkit_guest_memory::{GuestAddress, Segment};

/// The `length` bytes of `segments` from `start` on, or what there is of them.
pub(super) fn part(segments: &[Segment], start: u64, length: u64) -> Vec<Segment> {
    let (mut skip, mut left) = (start, length);
    let mut parts = Vec::with_capacity(segments.len());
    for segment in segments {
        let behind = skip.min(segment.length.into());
        skip -= behind;
        let length = (u64::from(segment.length) - behind).min(left);
        left -= length;
        if length > 0 {
            parts.push(Segment {
                address: GuestAddress(segment.address.0 + behind),
                length: length as u32,
            });
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_may_begin_and_end_within_segments() {
        let of = |address, length| Segment {
            address: GuestAddress(address),
            length,
        };
        let all = [of(0x1000, 10), of(0x2000, 20), of(0x3000, 5)];
        assert_eq!(part(&all, 4, 16), [of(0x1004, 6), of(0x2000, 10)]);
        assert_eq!(part(&all, 10, 20), [of(0x2000, 20)]);
        assert_eq!(part(&all, 34, 9), [of(0x3004, 1)]);
        assert_eq!(part(&all, 35, 1), []);
    }
}
