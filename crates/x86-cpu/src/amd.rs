//! Leaves that AMD defined (AMD APM vol. 3, appendix E.4).

use vmmkit_hypervisor::x86::CpuidEntry;

use crate::Topology;
use crate::basic::{CACHE_TYPE, share};
use crate::leaves::Leaves;
use crate::topology::last_of;

/// 80000001H, ECX: the package holds more than one core, not threads (E.4.2).
const CMP_LEGACY: u32 = 1 << 1;
/// 80000001H, ECX: 8000001DH and 8000001EH are there (E.4.2).
const TOPOLOGY_EXTENSIONS: u32 = 1 << 22;
/// 80000001H, ECX: core, northbridge and cache performance counters (E.4.2).
const COUNTERS: u32 = 1 << 23 | 1 << 24 | 1 << 28;
/// 80000007H, EDX: the TSC runs at one rate in all states (E.4.5).
const INVARIANT_TSC: u32 = 1 << 8;

/// Puts the guest's topology in place of the host's.
pub(crate) fn describe(leaves: &mut Leaves, topology: &Topology, apic_id: u32) {
    if let Some(leaf) = leaves.get_mut(0x8000_0007, 0) {
        // The rest of the leaf is about the host's sensors and P-states.
        (leaf.eax, leaf.ebx, leaf.ecx) = (0, 0, 0);
        leaf.edx &= INVARIANT_TSC;
    }
    if let Some(leaf) = leaves.get_mut(0x8000_0008, 0) {
        leaf.ecx = 0; // reserved by Intel
    }
    // The host's own levels; leaf 1FH has the guest's.
    leaves.remove(0x8000_0026, |_| true);
    if leaves.is_amd() {
        count_cores(leaves, topology);
        extend_topology(leaves, topology, apic_id);
    }
}

/// 80000001H and 80000008H: ECX 7:0 is the logical processors of a package less one, 15:12 the bits of
/// an APIC ID that tell them apart (E.4.6).
fn count_cores(leaves: &mut Leaves, topology: &Topology) {
    if let Some(leaf) = leaves.get_mut(0x8000_0001, 0) {
        leaf.ecx &= !CMP_LEGACY;
        if topology.package() > 1 {
            leaf.ecx |= CMP_LEGACY;
        }
    }
    if let Some(leaf) = leaves.get_mut(0x8000_0008, 0) {
        let processors = (topology.package() - 1).min(0xff);
        leaf.ecx = processors | topology.package_shift().min(0xf) << 12;
    }
}

/// 8000001DH, the caches (E.4.15), and 8000001EH, the IDs (E.4.16).
fn extend_topology(leaves: &mut Leaves, topology: &Topology, apic_id: u32) {
    // Linux looks for threads and nodes nowhere else. It is told by these leaves alone, so that a host
    // without them can tell of them too.
    if let Some(leaf) = leaves.get_mut(0x8000_0001, 0)
        && topology.threads() * topology.dies() > 1
    {
        leaf.ecx |= TOPOLOGY_EXTENSIONS;
    }
    let features = leaves.get(0x8000_0001, 0).map_or(0, |leaf| leaf.ecx);
    if features & TOPOLOGY_EXTENSIONS == 0 {
        leaves.remove(0x8000_001d, |_| true);
        leaves.remove(0x8000_001e, |_| true);
        return;
    }
    for cache in leaves
        .all_mut(0x8000_001d)
        .filter(|cache| cache.eax & CACHE_TYPE != 0)
    {
        cache.eax = share(cache.eax, topology);
    }
    // What AMD calls a node is a die.
    let part = |from: u32, to: u32| apic_id.checked_shr(from).unwrap_or(0) & last_of(to - from);
    let core = part(topology.core_shift(), topology.package_shift());
    let node = part(topology.die_shift(), topology.package_shift());
    leaves.remove(0x8000_001e, |_| true);
    leaves.put(CpuidEntry {
        function: 0x8000_001e,
        eax: apic_id,
        ebx: core & 0xff | (topology.threads() - 1).min(0xff) << 8,
        ecx: node & 0xff | (topology.dies() - 1).min(7) << 8,
        ..CpuidEntry::default()
    });
}

/// Hides the counters of 80000001H and the second version of them in 80000022H (E.4.20).
pub(crate) fn hide_pmu(leaves: &mut Leaves) {
    if let Some(leaf) = leaves.get_mut(0x8000_0001, 0) {
        leaf.ecx &= !COUNTERS;
    }
    for leaf in leaves.all_mut(0x8000_0022) {
        (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) = (0, 0, 0, 0);
    }
}
