//! Any text as a CPU profile: it reads back as it was written, and on a host that has some of it the guest
//! has no bit of a feature word that the host has not.

use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::x86::CpuidEntry;
use vmmkit_x86_cpu::{
    Clocks, CpuModel, CpuidError, Profile, Topology, boot_msrs, check_msrs, cpuid,
};

/// Takes one input.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(profile) = Profile::parse("fuzzed", text) else {
        return;
    };
    let again = Profile::parse("fuzzed", &profile.to_string()).unwrap();
    assert_eq!(again, profile);
    assert!(profile.differences(&again).is_empty());
    let model = CpuModel::of_profile(profile, []).unwrap();
    assert!(boot_msrs(&model).len() <= 130);
    let _ = check_msrs(&model, &[]);
    let topology = Topology::of(4);
    // A host with few features, and one with all.
    for fill in [0x5555_5555, u32::MAX] {
        let host = host(fill);
        match cpuid(&host, &model, &topology, VcpuId(3), Clocks::default()) {
            Ok(table) => {
                let leaf_7 = table
                    .iter()
                    .find(|leaf| leaf.function == 7 && leaf.index == 0);
                assert_eq!(leaf_7.map_or(0, |leaf| leaf.ebx) & !fill, 0);
                assert!(table.len() < 300);
            }
            Err(CpuidError::ProfileLacks(bits)) => assert!(!bits.is_empty()),
            Err(_) => {}
        }
    }
}

fn host(fill: u32) -> Vec<CpuidEntry> {
    let leaves = [
        0,
        1,
        4,
        6,
        7,
        0xa,
        0xd,
        0x4000_0000,
        0x4000_0001,
        0x8000_0000,
    ];
    let extended = [0x8000_0001, 0x8000_0007, 0x8000_0008, 0x8000_001d];
    let all = leaves.into_iter().chain(extended);
    all.map(|function| CpuidEntry {
        function,
        significant_index: [4, 7, 0xd].contains(&function),
        eax: fill,
        ebx: fill,
        ecx: fill,
        edx: fill,
        ..CpuidEntry::default()
    })
    .collect()
}
