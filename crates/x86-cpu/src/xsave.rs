//! Leaf 0DH: the state that XSAVE keeps, no more than the features that are left (Intel SDM vol. 1,
//! 13.1 and 13.2).

use crate::Feature;
use crate::leaves::Leaves;

const LEAF: u32 = 0xd;
/// Bytes of the legacy area and the header: what XSAVE takes with x87 and SSE alone.
const LEAST: u32 = 576;
/// Bits of XCR0 and the feature that each set of them belongs to.
const COMPONENTS: [(u32, &str); 5] = [
    (1 << 2, "avx"),
    (1 << 3 | 1 << 4, "mpx"),
    (1 << 5 | 1 << 6 | 1 << 7, "avx512f"),
    (1 << 9, "pku"),
    (1 << 17 | 1 << 18, "amx_tile"),
];

/// Leaves out the components of features that are gone, and the whole leaf without XSAVE.
pub(crate) fn fit(leaves: &mut Leaves) {
    let lacks = |leaves: &Leaves, name| Feature::named(name).is_some_and(|it| !leaves.has(&it));
    if lacks(leaves, "xsave") {
        leaves.remove(LEAF, |_| true);
        return;
    }
    let mut gone = 0;
    for (bits, name) in COMPONENTS {
        if lacks(leaves, name) {
            gone |= bits;
        }
    }
    let is_gone = |index| index > 1 && 1_u32.checked_shl(index).is_some_and(|bit| bit & gone != 0);
    leaves.remove(LEAF, |component| is_gone(component.index));
    // A component of XCR0 lies at EBX and takes EAX bytes; ECX bit 0 marks one of IA32_XSS.
    let components = leaves
        .all_mut(LEAF)
        .filter(|leaf| leaf.index > 1 && leaf.ecx & 1 == 0);
    let size = components
        .map(|leaf| leaf.ebx.saturating_add(leaf.eax))
        .fold(LEAST, u32::max);
    if let Some(leaf) = leaves.get_mut(LEAF, 0) {
        leaf.eax &= !gone;
        leaf.ecx = size;
        // What there is of it at start: x87 and SSE.
        leaf.ebx = leaf.ebx.clamp(LEAST, size);
    }
}
