//! Any text as a CPU model, and any table as the host's CPUID.
//!
//! The first line is the model. After it an entry is 16 bytes: which leaf (1), sub-leaf (1),
//! whether that counts (1), a register to fill with ones (1), and EAX, EBX, ECX (4 each); EDX is
//! EAX turned by 16 bits.

use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::x86::CpuidEntry;
use vmmkit_x86_cpu::{Clocks, CpuModel, Topology, cpuid};

/// Takes one input.
pub fn run(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (text, rest) = data.split_at(end.unwrap_or(data.len()));
    let parsed = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse::<CpuModel>().ok());
    if let Some(model) = &parsed {
        assert_eq!(&model.to_string().parse::<CpuModel>().unwrap(), model);
    }
    let model = parsed.unwrap_or_default();
    let (chunks, odd) = rest.get(1..).unwrap_or_default().as_chunks::<16>();
    let host: Vec<_> = chunks.iter().map(entry).collect();
    let word = odd
        .iter()
        .fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
    let topology = Topology::of(word >> 8);
    let clocks = Clocks {
        tsc_khz: (word & 1 != 0).then_some(word),
        apic_khz: (word & 2 != 0).then_some(word.rotate_left(8)),
    };
    let vcpu = VcpuId(word % topology.vcpus());
    let Ok(table) = cpuid(&host, &model, &topology, vcpu, clocks) else {
        return;
    };
    let place = |leaf: &CpuidEntry| (leaf.function, leaf.index);
    assert!(
        table
            .windows(2)
            .all(|pair| place(&pair[0]) < place(&pair[1]))
    );
    let last = table
        .iter()
        .map(|leaf| leaf.function)
        .filter(|leaf| *leaf < 0x1_0000);
    assert_eq!(table.first().map(|leaf| leaf.eax), last.max());
    let topology_leaf = table.iter().find(|leaf| place(leaf) == (0xb, 1));
    assert_eq!(topology_leaf.map(|leaf| leaf.edx), Some(vcpu.0));
}

fn entry(bytes: &[u8; 16]) -> CpuidEntry {
    let word = |at: usize| {
        let four = bytes.get(at..).and_then(|rest| rest.first_chunk());
        four.copied().map_or(0, u32::from_le_bytes)
    };
    let [leaf, index, significant, ones, ..] = *bytes;
    let start = [0, 0x4000_0000, 0x8000_0000, 0][usize::from(leaf >> 6)];
    let fill = |register: u8, value| {
        if ones & 1 << register != 0 {
            u32::MAX
        } else {
            value
        }
    };
    CpuidEntry {
        function: start | u32::from(leaf & 0x3f),
        index: index.into(),
        significant_index: significant & 1 != 0,
        eax: fill(0, word(4)),
        ebx: fill(1, word(8)),
        ecx: fill(2, word(12)),
        edx: fill(3, word(4).rotate_left(16)),
    }
}
