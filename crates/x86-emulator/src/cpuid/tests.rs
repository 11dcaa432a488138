use super::*;

fn leaf_d(index: u32, eax: u32, ebx: u32, ecx: u32) -> CpuidEntry {
    CpuidEntry {
        function: 0xd,
        index,
        significant_index: true,
        eax,
        ebx,
        ecx,
        edx: 0,
    }
}

#[test]
fn components_follow_one_another_in_the_compacted_format() {
    let layout = XsaveLayout::new(&[
        leaf_d(0, 0x2e7, 0, 0),
        leaf_d(2, 256, 576, 0),
        leaf_d(5, 64, 832, 0),
        leaf_d(9, 8, 2688, 0),
        leaf_d(11, 16, 0, 3),
    ]);
    let all = 1 << 2 | 1 << 5 | 1 << 9 | 1 << 11;
    assert_eq!(layout.compacted_offset(2, all), Some(576));
    assert_eq!(layout.compacted_offset(9, all), Some(576 + 256 + 64));
    assert_eq!(layout.compacted_offset(9, 1 << 9), Some(576));
    assert_eq!(layout.compacted_offset(11, all), Some(960)); // 904 up to a multiple of 64
}

#[test]
fn a_component_that_is_not_told_of_has_no_offset() {
    let layout = XsaveLayout::new(&[leaf_d(2, 256, 576, 0)]);
    assert_eq!(layout.compacted_offset(9, 1 << 9), None);
    assert_eq!(layout.compacted_offset(2, 0), None);
    assert_eq!(layout.component(0), None);
    assert_eq!(layout.component(63), None);
}

#[test]
fn physical_addresses_have_52_bits_where_cpuid_does_not_say() {
    assert_eq!(Cpuid::new(&[]).physical_bits, 52);
    let entry = CpuidEntry {
        function: 0x8000_0008,
        eax: 0x0030_302d,
        ..CpuidEntry::default()
    };
    assert_eq!(Cpuid::new(&[entry]).physical_bits, 45);
}
