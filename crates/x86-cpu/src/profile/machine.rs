//! Bits of CPUID that the machine decides, and not a profile.

use crate::Register::{self, Eax, Ebx, Ecx, Edx};

/// Leaves of topology, clocks and the hypervisor's signature, and the one of each vCPU's number.
const LEAVES: [u32; 8] = [
    0xb,
    0x15,
    0x16,
    0x1f,
    0x4000_0000,
    0x4000_0010,
    0x8000_001e,
    0x8000_0026,
];

/// Bits of other leaves: how high leaves go, APIC IDs, who shares a cache, what follows from the number
/// of vCPUs, and copies of CR4 (OSXSAVE, OSPKE) and of XCR0's size.
const BITS: [(u32, Option<u32>, Register, u32); 15] = [
    (0, Some(0), Eax, u32::MAX),
    (0, Some(0), Ebx, u32::MAX),
    (0, Some(0), Ecx, u32::MAX),
    (0, Some(0), Edx, u32::MAX),
    (1, Some(0), Ebx, 0xffff_0000),
    (1, Some(0), Ecx, 1 << 27),
    (1, Some(0), Edx, 1 << 28),
    (4, None, Eax, 0xffff_c000),
    (7, Some(0), Eax, u32::MAX),
    (7, Some(0), Ecx, 1 << 4),
    (0xd, Some(0), Ebx, u32::MAX),
    (0xd, Some(1), Ebx, u32::MAX),
    (0x8000_0001, Some(0), Ecx, 1 << 1),
    (0x8000_0008, Some(0), Ecx, u32::MAX),
    (0x8000_001d, None, Eax, 0x03ff_c000),
];

/// Whether the machine decides all of the leaf.
pub(super) fn decides(function: u32) -> bool {
    LEAVES.contains(&function)
}

/// The bits of a register that the machine decides.
pub(super) fn bits(function: u32, index: u32, register: Register) -> u32 {
    // The first extended leaf is as leaf 0.
    let function = if function == 0x8000_0000 { 0 } else { function };
    let all = BITS.iter().filter(|(leaf, sub_leaf, part, _)| {
        *leaf == function && sub_leaf.is_none_or(|it| it == index) && *part == register
    });
    all.fold(0, |bits, (_, _, _, more)| bits | more)
}
