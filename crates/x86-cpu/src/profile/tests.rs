use proptest::prelude::*;
use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::x86::CpuidEntry;

use super::*;
use crate::{
    Clocks, CpuModel, CpuidError, Feature, Register, Topology, boot_msrs, check_msrs, cpuid,
};

fn entry(function: u32, index: Option<u32>, [eax, ebx, ecx, edx]: [u32; 4]) -> CpuidEntry {
    CpuidEntry {
        function,
        index: index.unwrap_or(0),
        significant_index: index.is_some(),
        eax,
        ebx,
        ecx,
        edx,
    }
}

/// "AuthenticAMD" in EBX, ECX, EDX.
const AMD: [u32; 4] = [0, 0x6874_7541, 0x444d_4163, 0x6974_6e65];
/// "GenuineIntel".
const INTEL: [u32; 4] = [0, 0x756e_6547, 0x6c65_746e, 0x4965_6e69];

/// A host of `vendor` with every bit of every word of features.
fn everything(vendor: [u32; 4]) -> Vec<CpuidEntry> {
    let all = u32::MAX;
    vec![
        entry(0, None, vendor),
        entry(1, None, [0xa0_0f11, 0x800, all, all]),
        entry(6, None, [all; 4]),
        entry(7, Some(0), [1, all, all, all]),
        entry(7, Some(1), [all; 4]),
        entry(0xd, Some(0), [0x207, 0xa88, 0xa88, 0]),
        entry(0xd, Some(1), [0x1f, 0xa88, 0x1800, 0]),
        entry(0xd, Some(2), [0x100, 0x240, 0, 0]),
        entry(0xd, Some(9), [8, 0xa80, 0, 0]),
        entry(0x4000_0000, None, [0, 0x4b4d_564b, 0x564b_4d56, 0x4d]),
        entry(0x4000_0001, None, [all, 0, 0, 0]),
        entry(0x8000_0000, None, vendor),
        entry(0x8000_0001, None, [0xa0_0f11, 0, all, all]),
        entry(0x8000_0007, None, [0, 0, 0, 0x100]),
        entry(0x8000_0008, None, [0x3030, all, 0, 0]),
    ]
}

fn guest(host: &[CpuidEntry], model: &CpuModel) -> Result<Vec<CpuidEntry>, CpuidError> {
    cpuid(host, model, &Topology::of(1), VcpuId(0), Clocks::default())
}

fn model(text: &str) -> CpuModel {
    CpuModel::of_profile(Profile::parse("test", text).unwrap(), []).unwrap()
}

#[track_caller]
fn at(table: &[CpuidEntry], function: u32, index: u32) -> CpuidEntry {
    let place = |leaf: &&CpuidEntry| leaf.function == function && leaf.index == index;
    *table.iter().find(place).unwrap()
}

/// x86-64 psABI, table 3.1.
const V2: [&str; 6] = ["cx16", "lahf_lm", "popcnt", "pni", "sse4_2", "ssse3"];
const V3: [&str; 8] = ["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"];

#[test]
fn built_in_profiles_have_what_their_level_says_and_are_written_as_dumps_are() {
    for (text, features) in [
        (include_str!("../../profiles/x86-64-v2-intel.toml"), &V2[..]),
        (include_str!("../../profiles/x86-64-v2-amd.toml"), &V2),
        (include_str!("../../profiles/x86-64-v3-intel.toml"), &V3),
        (include_str!("../../profiles/x86-64-v3-amd.toml"), &V3),
    ] {
        let profile = Profile::parse("built-in", text).unwrap();
        let (_, without_comments) = text.split_once("vendor").unwrap();
        assert_eq!(profile.to_string(), format!("vendor{without_comments}"));
        assert_eq!(profile.msrs(), []);

        let vendor = match profile.vendor() {
            Some("GenuineIntel") => INTEL,
            _ => AMD,
        };
        let model = CpuModel::of_profile(profile.clone(), []).unwrap();
        let table = guest(&everything(vendor), &model).unwrap();
        for name in features.iter().chain(&V2) {
            let feature = Feature::named(name).unwrap();
            let leaf = at(&table, feature.function, feature.index);
            assert_ne!(feature.register.of(&leaf) >> feature.bit & 1, 0, "{name}");
        }
        // Nothing of it builds on what it leaves out.
        let seen = Profile::of_guest("built-in", &table, &[]);
        assert_eq!(seen.differences(&profile), []);
    }
}

#[test]
fn a_built_in_profile_is_the_one_for_the_host_s_vendor() {
    let model: CpuModel = "baseline".parse().unwrap();

    let intel = guest(&everything(INTEL), &model).unwrap();
    let amd = guest(&everything(AMD), &model).unwrap();
    assert_eq!(at(&intel, 1, 0).eax, 0x2_06c2);
    assert_eq!(at(&amd, 1, 0).eax, 0x60_0f20);
    let other = guest(&everything([0, 1, 2, 3]), &model).unwrap_err();
    assert!(matches!(other, CpuidError::NoBuiltIn { .. }), "{other}");
}

#[test]
fn what_the_host_lacks_is_refused_by_its_name_and_place() {
    let mut host = everything(AMD);
    host[3].ebx &= !(1 << 5);
    host[3].edx &= !1;
    let error = guest(
        &host,
        &model("others = \"host\"\ncpuid = [{ leaf = 7, subleaf = 0, ebx = 0x20, edx = 1 }]"),
    );

    assert_eq!(
        error.unwrap_err().to_string(),
        "the host has no avx2 (CPUID leaf 0x7.0, EBX bit 5), CPUID leaf 0x7.0, EDX bit 0"
    );
    let v3 = guest(&host, &"x86-64-v3".parse().unwrap()).unwrap_err();
    assert!(v3.to_string().starts_with("the host has no avx2 ("), "{v3}");
}

#[test]
fn many_missing_bits_are_counted() {
    let host = [entry(0, None, AMD), entry(1, None, [0; 4])];
    let error = guest(&host, &model("cpuid = [{ leaf = 1, edx = 0x0fffffff }]")).unwrap_err();

    assert!(error.to_string().ends_with(", and 20 more"), "{error}");
}

#[test]
fn a_profile_of_another_vendor_is_refused() {
    let error = guest(&everything(INTEL), &model("vendor = \"AuthenticAMD\"")).unwrap_err();

    let message = "it is for AuthenticAMD, and this host is GenuineIntel";
    assert_eq!(error.to_string(), message);
}

#[test]
fn numbers_that_the_host_cannot_give_are_refused() {
    let wide = model("cpuid = [{ leaf = 0x80000008, eax = 0x3034 }]");
    let error = guest(&everything(AMD), &wide).unwrap_err();
    assert_eq!(
        error.to_string(),
        "CPUID leaf 0x80000008.0, EAX bits 7:0 are 0x34, on this host 0x30"
    );

    let moved = model("others = \"host\"\ncpuid = [{ leaf = 0xd, subleaf = 9, ebx = 0x340 }]");
    let error = guest(&everything(AMD), &moved).unwrap_err();
    assert!(matches!(error, CpuidError::ProfileNumber { .. }), "{error}");
}

#[test]
fn masks_decide_their_bits_and_the_host_the_others() {
    let text = "others = \"host\"\ncpuid = [
        { leaf = 7, subleaf = 0, ebx = { mask = 0x1_0020, value = 0 } },
        { leaf = 0x80000002, eax = 0x41 },
    ]";
    let table = guest(&everything(AMD), &model(text)).unwrap();

    // AVX-512 goes with AVX2.
    let feature = |name| {
        let it = Feature::named(name).unwrap();
        it.register.of(&at(&table, it.function, it.index)) >> it.bit & 1
    };
    assert_eq!([feature("avx2"), feature("avx512f")], [0, 0]);
    assert_eq!(
        [feature("avx512vl"), feature("erms"), feature("avx")],
        [0, 1, 1]
    );
    assert_eq!(at(&table, 0x8000_0002, 0).eax, 0x41);
}

#[test]
fn what_an_absent_profile_does_not_name_is_not_there() {
    let table = guest(
        &everything(AMD),
        &model("cpuid = [{ leaf = 1, edx = 0x10 }]"),
    )
    .unwrap();

    let leaves: Vec<u32> = table.iter().map(|leaf| leaf.function).collect();
    assert_eq!(
        leaves,
        [0, 1, 0xb, 0xb, 0xb, 0x4000_0000, 0x8000_0000],
        "and what the machine decides"
    );
    assert_eq!(at(&table, 1, 0).edx, 0x10);
    assert_eq!(at(&table, 0, 0).ebx, AMD[1], "the vendor");
}

#[test]
fn a_feature_that_is_insisted_on_comes_from_the_host() {
    let model = |text: &str| text.parse::<CpuModel>().unwrap();
    let has_aes = |table: Vec<CpuidEntry>| at(&table, 1, 0).ecx >> 25 & 1 != 0;
    let host = everything(AMD);

    assert!(!has_aes(guest(&host, &model("x86-64-v2")).unwrap()));
    assert!(has_aes(guest(&host, &model("x86-64-v2,+aes")).unwrap()));
    assert!(!has_aes(guest(&host, &model("x86-64-v3,-aes")).unwrap()));
}

#[test]
fn a_dump_of_a_guest_makes_the_same_guest() {
    let host = everything(INTEL);
    let table = guest(&host, &CpuModel::default()).unwrap();
    let capabilities = Msr {
        index: 0x10a,
        value: 0x8000_0000_0000_0401,
    };

    let dump = Profile::of_guest("dump", &table, &[capabilities]);
    let read = Profile::parse("dump", &dump.to_string()).unwrap();
    assert_eq!(read, dump);
    let model = CpuModel::of_profile(read, []).unwrap();
    let again = guest(&host, &model).unwrap();
    assert_eq!(Profile::of_guest("dump", &again, &[capabilities]), dump);
    assert!(boot_msrs(&model).contains(&capabilities));
    assert_eq!(check_msrs(&model, &[capabilities]), Ok(()));
    let less = Msr {
        value: 0x401,
        ..capabilities
    };
    let message = "the host has no bit 63 of MSR 0x10a";
    assert_eq!(
        check_msrs(&model, &[less]).unwrap_err().to_string(),
        message
    );
}

#[test]
fn differences_name_the_features_of_each_side() {
    let one = Profile::parse("one", "cpuid = [{ leaf = 1, ecx = 0x2000_0001 }]").unwrap();
    let two = Profile::parse(
        "two",
        "cpuid = [{ leaf = 1, ecx = 0x1000_0001 }]\nmsr = [{ index = 1, value = 2 }]",
    )
    .unwrap();

    let lines: Vec<_> = one
        .differences(&two)
        .iter()
        .map(Difference::to_string)
        .collect();
    assert_eq!(
        lines,
        [
            "leaf 0x1.0 ECX: 0x20000001 | 0x10000001\n  < f16c\n  > avx",
            "MSR 0x1: not there | 0x2"
        ]
    );
    assert_eq!(one.differences(&one), []);
}

#[test]
fn what_is_no_profile_is_refused_with_its_line() {
    for (text, line, part) in [
        ("vendor = \"AMD\"", 1, "vendor \"AMD\" has not 12 letters"),
        ("\nothers = \"none\"", 2, "unknown variant `none`"),
        ("x = 1", 1, "unknown field `x`"),
        (
            "\n\n[[cpuid]]\nleaf = 0xb",
            3,
            "leaf 0xb follows from the machine",
        ),
        (
            "[[cpuid]]\nleaf = 1\neax = \"x\"",
            3,
            "expected a number of 32 bits",
        ),
        (
            "[[cpuid]]\nleaf = 1\neax = 0x1_0000_0000",
            3,
            "expected a number of 32 bits",
        ),
        ("[[cpuid]]\nleaf = -1", 2, "invalid value"),
        (
            "[[cpuid]]\nleaf = 1\neax = { mask = 1, value = 2 }",
            1,
            "eax has a value, 0x2, outside of its mask, 0x1",
        ),
        (
            "[[cpuid]]\nleaf = 1\n[[cpuid]]\nleaf = 1",
            3,
            "leaf 0x1.0 is there twice",
        ),
        (
            "[[msr]]\nindex = 1\nvalue = \"1\"",
            1,
            "\"1\" is not a number of 64 bits",
        ),
        (
            "[[msr]]\nindex = 1\nvalue = 1\n[[msr]]\nindex = 1\nvalue = 1",
            4,
            "MSR 0x1 is there twice",
        ),
        ("[[cpuid]", 1, "expected"),
    ] {
        let error = Profile::parse("p", text).unwrap_err();
        assert_eq!(error.line, line, "{text}: {error}");
        assert!(error.fault.to_string().contains(part), "{text}: {error}");
    }
    let many: String = (0..=256)
        .map(|index| format!("[[cpuid]]\nleaf = 4\nsubleaf = {index}\n"))
        .collect();
    let error = Profile::parse("p", &many).unwrap_err();
    assert_eq!(error.fault.to_string(), "more than 256 leaves");
}

proptest! {
    #[test]
    fn any_profile_reads_back_and_meets_any_host(
        text in profile_text(), leaves in proptest::collection::vec(any::<(u32, u32, u32)>(), 0..9),
    ) {
        let profile = Profile::parse("any", &text).unwrap();

        prop_assert_eq!(Profile::parse("any", &profile.to_string()).unwrap(), profile.clone());
        let host: Vec<_> = leaves
            .iter()
            .map(|&(leaf, eax, ecx)| entry(leaf & 0x8000_000f, None, [eax, ecx, ecx, eax]))
            .collect();
        let model = CpuModel::of_profile(profile, []).unwrap();
        if let Ok(table) = guest(&host, &model) {
            let place = |leaf: &CpuidEntry| (leaf.function, leaf.index);
            let sorted = table.windows(2).all(|pair| place(&pair[0]) < place(&pair[1]));
            prop_assert!(sorted);
        }
    }
}

fn profile_text() -> impl Strategy<Value = String> {
    let leaf = (any::<u8>(), any::<bool>(), any::<u32>(), any::<u32>());
    let leaves = proptest::collection::btree_map(any::<u8>(), leaf, 0..6);
    (any::<bool>(), leaves).prop_map(|(host, leaves)| {
        let mut text = format!("others = \"{}\"\n", if host { "host" } else { "absent" });
        for (number, (index, part, mask, value)) in leaves {
            // None of the machine's.
            let leaf = 0x8000_0000 | u32::from(number % 16) << 8;
            text += &format!("[[cpuid]]\nleaf = {}\n", leaf | u32::from(number) << 16);
            text += &format!("subleaf = {index}\nebx = {value}\n");
            if part {
                text += &format!("ecx = {{ mask = {mask}, value = {} }}\n", mask & value);
            }
        }
        text
    })
}

#[test]
fn the_bits_of_a_word_are_named_where_they_have_a_name() {
    let bits: Vec<_> = Bit::of(7, 0, Register::Ebx, 0x8000_0040).collect();

    assert_eq!(bits[0].to_string(), "CPUID leaf 0x7.0, EBX bit 6");
    assert_eq!(
        bits[1].to_string(),
        "avx512vl (CPUID leaf 0x7.0, EBX bit 31)"
    );
}
