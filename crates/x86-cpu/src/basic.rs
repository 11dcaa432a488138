//! Leaves that Intel defined: identity, caches, power, performance monitoring, topology (Intel SDM
//! vol. 2A, "CPUID", table 3-8).

use vmmkit_hypervisor::VcpuId;

use crate::Topology;
use crate::leaves::Leaves;

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
pub(crate) fn describe(leaves: &mut Leaves, topology: &Topology, vcpu: VcpuId) {
    identify(leaves, topology, vcpu);
    for cache in leaves
        .all_mut(4)
        .filter(|cache| cache.eax & CACHE_TYPE != 0)
    {
        // 31:26: APIC IDs of cores in the package, less one.
        let cores = topology.last_apic_id().min(0x3f);
        cache.eax = share(cache.eax, topology) & 0x03ff_ffff | cores << 26;
    }
    let levels = levels(topology, vcpu);
    leaves.put_all(0xb, &levels);
    if leaves.get(0x1f, 0).is_some() {
        leaves.put_all(0x1f, &levels);
    }
}

/// Leaf 1: EBX 31:24 is the initial APIC ID, 23:16 the APIC IDs of the package, 15:8 the size of a
/// cache line in 8 bytes.
fn identify(leaves: &mut Leaves, topology: &Topology, vcpu: VcpuId) {
    const CLFLUSH: u32 = 0xff00;
    const LINE_OF_64: u32 = 8 << 8;
    let Some(leaf) = leaves.get_mut(1, 0) else {
        return;
    };
    let ids = topology.last_apic_id().saturating_add(1).min(0xff);
    let line = if leaf.ebx & CLFLUSH == 0 {
        LINE_OF_64
    } else {
        leaf.ebx & CLFLUSH
    };
    leaf.ebx = (vcpu.0 & 0xff) << 24 | ids << 16 | line | leaf.ebx & 0xff;
    leaf.edx &= !HTT;
    if topology.vcpus() > 1 {
        leaf.edx |= HTT;
    }
}

/// Leaves 4 and 8000001DH, EAX 4:0: what the cache holds; 0 ends the list.
pub(crate) const CACHE_TYPE: u32 = 0x1f;

/// Leaves 4 and 8000001DH: EAX 25:14 is how many logical processors share the cache, less one.
/// The first two levels belong to a core, the third to the package.
pub(crate) fn share(eax: u32, topology: &Topology) -> u32 {
    let level = eax >> 5 & 7;
    let sharers = if level < 3 {
        0
    } else {
        topology.last_apic_id().min(0xfff)
    };
    eax & !(0xfff << 14) | sharers << 14
}

/// Leaves 0BH and 1FH: how far to shift an x2APIC ID for the next level, the logical processors
/// at this one, the level's number and type, the ID.
fn levels(topology: &Topology, vcpu: VcpuId) -> [[u32; 4]; 3] {
    [
        [0, 1, THREADS, vcpu.0],
        [
            topology.core_bits(),
            topology.vcpus() & 0xffff,
            1 | CORES,
            vcpu.0,
        ],
        [0, 0, 2, vcpu.0],
    ]
}

/// Leaf 0AH: version 0 is no performance monitoring (Intel SDM vol. 3B, 20.2.1).
pub(crate) fn hide_pmu(leaves: &mut Leaves) {
    if let Some(leaf) = leaves.get_mut(1, 0) {
        leaf.ecx &= !PDCM;
    }
    for leaf in leaves.all_mut(0xa) {
        (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) = (0, 0, 0, 0);
    }
}
