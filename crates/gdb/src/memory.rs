//! Guest memory by linear addresses, through the page tables of one vCPU.

use vmmkit_guest_memory::GuestAddress;
use vmmkit_hypervisor::VcpuId;

use crate::Debugged;

const PAGE: u64 = 0x1000;

/// A piece of a range, in one page: its physical address, and how many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) physical: u64,
    pub(crate) length: usize,
}

/// The `length` bytes at `linear`, page by page, up to the first that is not mapped. A packet of the
/// client bounds `length`.
pub(crate) fn pieces(
    machine: &impl Debugged,
    vcpu: VcpuId,
    linear: u64,
    length: usize,
) -> Vec<Piece> {
    let parts = split(linear, length);
    let found = machine.visit(vcpu, move |state| {
        let mut found = Vec::new();
        for &(at, length) in &parts {
            match state.translate(at) {
                Ok(Some(physical)) => found.push(Piece { physical, length }),
                _ => break,
            }
        }
        found
    });
    found.unwrap_or_default()
}

/// The parts of a range that lie in one page each.
fn split(linear: u64, length: usize) -> Vec<(u64, usize)> {
    let (mut at, mut left) = (linear, length);
    let mut parts = Vec::new();
    while left > 0 {
        let to_end = (PAGE - at % PAGE) as usize;
        let part = left.min(to_end);
        parts.push((at, part));
        at = at.wrapping_add(part as u64);
        left -= part;
    }
    parts
}

/// Fills `bytes` from RAM as far as there is any; how many it were.
pub(crate) fn read(machine: &impl Debugged, pieces: &[Piece], bytes: &mut [u8]) -> usize {
    let mut done = 0;
    for piece in pieces {
        let end = done + piece.length;
        let Some(part) = bytes.get_mut(done..end) else {
            break;
        };
        let from = GuestAddress(piece.physical);
        if machine.ram().read_bytes(from, part).is_err() {
            break;
        }
        done = end;
    }
    done
}

/// Writes all of `bytes` to RAM, or nothing where a part of it is none.
pub(crate) fn write(machine: &impl Debugged, pieces: &[Piece], bytes: &[u8]) -> bool {
    let mut old = vec![0; bytes.len()];
    if read(machine, pieces, &mut old) != bytes.len() {
        return false;
    }
    let mut done = 0;
    for piece in pieces {
        let end = done + piece.length;
        let part = bytes.get(done..end).unwrap_or_default();
        let to = GuestAddress(piece.physical);
        if machine.ram().write_bytes(to, part).is_err() {
            return false;
        }
        done = end;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_split_at_pages_and_may_end_at_the_last_address() {
        assert_eq!(split(0x1ffe, 3), [(0x1ffe, 2), (0x2000, 1)]);
        assert_eq!(split(u64::MAX, 2), [(u64::MAX, 1), (0, 1)]);
        assert!(split(5, 0).is_empty());
    }
}
