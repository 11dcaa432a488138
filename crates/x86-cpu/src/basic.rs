//! Leaves that Intel defined: identity, caches, power, performance monitoring, topology (Intel SDM
//! vol. 2A, "CPUID", table 3-8).

use crate::Topology;
use crate::leaves::Leaves;
use crate::topology::last_of;

/// Leaf 1, ECX: the local APIC timer counts to a TSC value (Intel SDM vol. 3A, 11.5.4.1).
const TSC_DEADLINE: u32 = 1 << 24;
/// Leaf 1, ECX: CR4.OSXSAVE is set; a vCPU starts with it clear, KVM keeps it up to date.
const OSXSAVE: u32 = 1 << 27;
/// Leaf 1, ECX: a guest (AMD APM vol. 3, E.3.2).
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1, ECX: MSR IA32_PERF_CAPABILITIES.
const PDCM: u32 = 1 << 15;
/// Leaf 1, EDX: the package may hold more than one logical processor.
const HTT: u32 = 1 << 28;
/// Leaf 6, EAX: the local APIC timer never stops (Intel SDM vol. 3A, 11.5.4).
const ARAT: u32 = 1 << 2;

/// Level types of leaves 0BH and 1FH, in ECX 15:8.
const THREADS: u32 = 1 << 8;
const CORES: u32 = 2 << 8;
const DIES: u32 = 5 << 8;

/// Adds what the hypervisor offers whatever the host's table says: its local APIC has a TSC
/// deadline (the table leaves the bit out, KVM API 4.46) and its timer never stops.
pub(crate) fn offer(leaves: &mut Leaves) {
    if let Some(leaf) = leaves.get_mut(1, 0) {
        leaf.ecx = (leaf.ecx | TSC_DEADLINE | HYPERVISOR) & !OSXSAVE;
    }
    if let Some(leaf) = leaves.get_mut(6, 0) {
        // Sensors, turbo and P-states are the host's: none has its MSRs here.
        (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) = (ARAT, 0, 0, 0);
    }
}

/// Puts the guest's topology in place of the host's.
pub(crate) fn describe(leaves: &mut Leaves, topology: &Topology, apic_id: u32) {
    identify(leaves, topology, apic_id);
    for cache in leaves
        .all_mut(4)
        .filter(|cache| cache.eax & CACHE_TYPE != 0)
    {
        // 31:26: APIC IDs of cores in the package, less one.
        let cores = last_of(topology.package_shift() - topology.core_shift()).min(0x3f);
        cache.eax = share(cache.eax, topology) & 0x03ff_ffff | cores << 26;
    }
    let threads = level(topology.core_shift(), topology.threads(), THREADS);
    let cores = level(topology.package_shift(), topology.package(), CORES);
    leaves.put_all(0xb, &levels(&[threads, cores], apic_id));
    // Leaf 1FH knows dies, which 0BH must leave out.
    if topology.dies() > 1 {
        let cores = level(topology.die_shift(), topology.die(), CORES);
        let dies = level(topology.package_shift(), topology.package(), DIES);
        leaves.put_all(0x1f, &levels(&[threads, cores, dies], apic_id));
    } else if leaves.get(0x1f, 0).is_some() {
        leaves.put_all(0x1f, &levels(&[threads, cores], apic_id));
    }
}

/// Leaf 1: EBX 31:24 is the initial APIC ID, 23:16 the APIC IDs of the package, 15:8 the size of a
/// cache line in 8 bytes.
fn identify(leaves: &mut Leaves, topology: &Topology, apic_id: u32) {
    const CLFLUSH: u32 = 0xff00;
    const LINE_OF_64: u32 = 8 << 8;
    let Some(leaf) = leaves.get_mut(1, 0) else {
        return;
    };
    let ids = last_of(topology.package_shift())
        .saturating_add(1)
        .min(0xff);
    let line = if leaf.ebx & CLFLUSH == 0 {
        LINE_OF_64
    } else {
        leaf.ebx & CLFLUSH
    };
    leaf.ebx = (apic_id & 0xff) << 24 | ids << 16 | line | leaf.ebx & 0xff;
    leaf.edx &= !HTT;
    if topology.package() > 1 {
        leaf.edx |= HTT;
    }
}

/// Leaves 4 and 8000001DH, EAX 4:0: what the cache holds; 0 ends the list.
pub(crate) const CACHE_TYPE: u32 = 0x1f;

/// Leaves 4 and 8000001DH: EAX 25:14 is how many APIC IDs share the cache, less one. The first two
/// levels belong to a core, the third to the die.
pub(crate) fn share(eax: u32, topology: &Topology) -> u32 {
    let level = eax >> 5 & 7;
    let shift = if level < 3 {
        topology.core_shift()
    } else {
        topology.die_shift()
    };
    eax & !(0xfff << 14) | last_of(shift).min(0xfff) << 14
}

/// A level of leaves 0BH and 1FH, but for its number and the APIC ID: how far to shift an x2APIC ID
/// for the next level, the logical processors at this one, its type.
pub(crate) fn level(shift: u32, processors: u32, kind: u32) -> [u32; 3] {
    [shift, processors & 0xffff, kind]
}

/// The sub-leaves of `levels`, and the one that ends them.
pub(crate) fn levels(levels: &[[u32; 3]], apic_id: u32) -> Vec<[u32; 4]> {
    let end = [0, 0, 0];
    let all = (0..).zip(levels.iter().chain([&end]));
    all.map(|(number, &[shift, processors, kind])| [shift, processors, number | kind, apic_id])
        .collect()
}

/// Leaf 0AH: version 0 means no performance monitoring (Intel SDM vol. 3B, 20.2.1).
pub(crate) fn hide_pmu(leaves: &mut Leaves) {
    if let Some(leaf) = leaves.get_mut(1, 0) {
        leaf.ecx &= !PDCM;
    }
    for leaf in leaves.all_mut(0xa) {
        (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) = (0, 0, 0, 0);
    }
}
