use proptest::prelude::*;

use super::*;

/// A table such as KVM gives on an AMD host of many cores, as far as the tests look at it.
fn amd() -> Vec<CpuidEntry> {
    let leaf = |function, eax, ebx, ecx, edx| {
        let (index, significant_index) = (0, false);
        CpuidEntry {
            function,
            index,
            significant_index,
            eax,
            ebx,
            ecx,
            edx,
        }
    };
    let sub = |index, leaf| CpuidEntry {
        index,
        significant_index: true,
        ..leaf
    };
    vec![
        leaf(0, 0x10, 0x6874_7541, 0x444d_4163, 0x6974_6e65),
        leaf(1, 0xa0_0f11, 0x1740_0800, 0x76fa_3203, 0x178b_fbff),
        leaf(6, 0x77, 2, 9, 1),
        sub(0, leaf(7, 1, 0xf1bf_97a9, 0x405f4e, 0x10)),
        sub(1, leaf(7, 0x20, 0, 0, 0)),
        leaf(0xa, 0x0730_0402, 0, 0, 0x603),
        sub(0, leaf(0xd, 0x2e7, 0x980, 0x980, 0)),
        sub(1, leaf(0xd, 0xf, 0x980, 0x1800, 0)),
        sub(2, leaf(0xd, 0x100, 0x240, 0, 0)),
        sub(5, leaf(0xd, 0x40, 0x340, 0, 0)),
        sub(6, leaf(0xd, 0x200, 0x380, 0, 0)),
        sub(7, leaf(0xd, 0x400, 0x580, 0, 0)),
        sub(9, leaf(0xd, 0x8, 0x980, 0, 0)),
        sub(11, leaf(0xd, 0x10, 0, 1, 0)),
        leaf(0x4000_0000, 0x4000_0001, 0x4b4d_564b, 0x564b_4d56, 0x4d),
        leaf(0x4000_0001, 0x0100_7efb, 0, 0, 0),
        leaf(
            0x8000_0000,
            0x8000_0022,
            0x6874_7541,
            0x444d_4163,
            0x6974_6e65,
        ),
        leaf(
            0x8000_0001,
            0xa0_0f11,
            0x4000_0000,
            0x35c2_37ff,
            0x2fd3_fbff,
        ),
        leaf(0x8000_0007, 0, 0x3b, 0, 0x6799),
        leaf(0x8000_0008, 0x3034, 0x791e_f257, 0x701f, 0x1_0007),
        sub(0, leaf(0x8000_001d, 0x0000_4121, 0x1c0_003f, 0x3f, 0)),
        sub(3, leaf(0x8000_001d, 0x0003_c163, 0x3c0_003f, 0x7fff, 1)),
        leaf(0x8000_001e, 0x17, 0x10b, 0, 0),
        leaf(0x8000_0022, 7, 6, 0, 0),
    ]
}

fn guest(model: &str, vcpus: u32, vcpu: u32) -> Vec<CpuidEntry> {
    let topology = Topology::of(vcpus);
    cpuid(
        &amd(),
        &model.parse().unwrap(),
        &topology,
        VcpuId(vcpu),
        clocks(),
    )
    .unwrap()
}

fn clocks() -> Clocks {
    Clocks {
        tsc_khz: Some(2_596_140),
        apic_khz: None,
    }
}

#[track_caller]
fn at(table: &[CpuidEntry], function: u32, index: u32) -> CpuidEntry {
    let place = |leaf: &&CpuidEntry| leaf.function == function && leaf.index == index;
    *table.iter().find(place).unwrap()
}

fn absent(table: &[CpuidEntry], function: u32, index: u32) -> bool {
    !table
        .iter()
        .any(|leaf| leaf.function == function && leaf.index == index)
}

fn has(table: &[CpuidEntry], name: &str) -> bool {
    Leaves::from_host(table).has(&Feature::named(name).unwrap())
}

#[test]
fn leaf_1_has_the_guest_s_apic_id_and_count() {
    let leaf = at(&guest("host", 3, 2), 1, 0);

    assert_eq!(leaf.ebx, 2 << 24 | 4 << 16 | 8 << 8);
    assert_ne!(leaf.edx & 1 << 28, 0, "more than one logical processor");
    assert_ne!(leaf.ecx & 1 << 31, 0, "a guest");
    assert_ne!(leaf.ecx & 1 << 24, 0, "TSC deadline");
    assert_eq!(leaf.ecx & 1 << 27, 0, "CR4.OSXSAVE is clear at start");
}

#[test]
fn a_single_vcpu_is_alone_in_its_package() {
    let table = guest("host", 1, 0);

    assert_eq!(at(&table, 1, 0).edx & 1 << 28, 0);
    assert_eq!(at(&table, 1, 0).ebx >> 16, 1);
    assert_eq!(at(&table, 0x8000_0001, 0).ecx & 2, 0);
    assert_eq!(at(&table, 0x8000_0008, 0).ecx, 0);
    assert_eq!(at(&table, 0xb, 1).eax, 0);
}

#[test]
fn leaf_0b_has_threads_cores_and_an_end() {
    let table = guest("host", 5, 4);

    let level = |index| {
        let leaf = at(&table, 0xb, index);
        [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]
    };
    assert_eq!(level(0), [0, 1, 0x100, 4]);
    assert_eq!(level(1), [3, 5, 0x201, 4]);
    assert_eq!(level(2), [0, 0, 2, 4]);
    assert!(absent(&table, 0x1f, 0), "the host has none");
}

#[test]
fn leaf_1f_says_the_same_where_the_host_has_one() {
    let mut host = amd();
    host.push(CpuidEntry {
        function: 0x1f,
        ..CpuidEntry::default()
    });

    let model = CpuModel::default();
    let table = cpuid(&host, &model, &Topology::of(2), VcpuId(1), clocks()).unwrap();

    for index in 0..3 {
        let copy = CpuidEntry {
            function: 0xb,
            ..at(&table, 0x1f, index)
        };
        assert_eq!(copy, at(&table, 0xb, index));
    }
    assert_eq!(at(&table, 0, 0).eax, 0x1f);
}

#[test]
fn amd_topology_is_the_guest_s() {
    let table = guest("host", 6, 5);

    assert_eq!(at(&table, 0x8000_0008, 0).ecx, 3 << 12 | 5);
    assert_eq!(at(&table, 0x8000_001e, 0).eax, 5);
    assert_eq!(at(&table, 0x8000_001e, 0).ebx, 5);
    assert_eq!(
        at(&table, 0x8000_001d, 0).eax >> 14,
        0,
        "the first level is a core's own"
    );
    assert_eq!(
        at(&table, 0x8000_001d, 3).eax >> 14,
        7,
        "the third is the package's"
    );
}

#[test]
fn packages_dies_cores_and_threads_are_each_told() {
    let topology = Topology::new(2, 2, 3, 2).unwrap();
    let model = CpuModel::default();
    // The second thread of the last core of the second die of the second package.
    let table = cpuid(&amd(), &model, &topology, VcpuId(23), clocks()).unwrap();

    assert_eq!(at(&table, 1, 0).ebx, 29 << 24 | 16 << 16 | 8 << 8);
    let levels = |function: u32| -> Vec<_> {
        let sub_leaves = table.iter().filter(|leaf| leaf.function == function);
        sub_leaves
            .map(|leaf| [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx])
            .collect()
    };
    assert_eq!(
        levels(0xb),
        [[1, 2, 0x100, 29], [4, 12, 0x201, 29], [0, 0, 2, 29]]
    );
    assert_eq!(
        levels(0x1f),
        [
            [1, 2, 0x100, 29],
            [3, 6, 0x201, 29],
            [4, 12, 0x502, 29],
            [0, 0, 3, 29]
        ]
    );
    assert_eq!(at(&table, 0x8000_0008, 0).ecx, 4 << 12 | 11);
    let ids = at(&table, 0x8000_001e, 0);
    assert_eq!(
        [ids.eax, ids.ebx, ids.ecx],
        [29, 1 << 8 | 6, 1 << 8 | 1],
        "the core in its package, its threads, the node"
    );
    assert_eq!(at(&table, 0x8000_001d, 0).eax >> 14, 1, "a core's threads");
    assert_eq!(at(&table, 0x8000_001d, 3).eax >> 14, 7, "a die's");
}

#[test]
fn threads_are_told_where_the_host_has_no_leaves_for_them() {
    let mut host = amd();
    for leaf in &mut host {
        if leaf.function == 0x8000_0001 {
            leaf.ecx &= !(1 << 22);
        }
    }
    let table =
        |topology| cpuid(&host, &CpuModel::default(), &topology, VcpuId(0), clocks()).unwrap();

    assert!(absent(&table(Topology::of(4)), 0x8000_001e, 0));
    let threads = table(Topology::new(1, 1, 2, 2).unwrap());
    assert!(has(&threads, "topoext"));
    assert_eq!(at(&threads, 0x8000_001e, 0).ebx, 1 << 8);
}

#[test]
fn a_machine_of_packages_of_one_has_no_hyperthreads() {
    let topology = Topology::new(4, 1, 1, 1).unwrap();

    let table = cpuid(&amd(), &CpuModel::default(), &topology, VcpuId(3), clocks()).unwrap();

    assert_eq!(at(&table, 1, 0).edx & 1 << 28, 0);
    assert_eq!(at(&table, 0xb, 1).eax, 0);
    assert_eq!(at(&table, 0xb, 1).edx, 3);
}

#[test]
fn intel_caches_are_shared_by_the_guest_s_cores() {
    let cache = |index, eax| CpuidEntry {
        function: 4,
        index,
        significant_index: true,
        eax,
        ..CpuidEntry::default()
    };
    let host = [cache(0, 0xfc00_4121), cache(1, 0xfc1f_c163), cache(2, 0)];

    let model = CpuModel::default();
    let table = cpuid(&host, &model, &Topology::of(4), VcpuId(0), clocks()).unwrap();

    assert_eq!(at(&table, 4, 0).eax, 3 << 26 | 0x121);
    assert_eq!(at(&table, 4, 1).eax, 3 << 26 | 3 << 14 | 0x163);
    assert_eq!(at(&table, 4, 2).eax, 0, "the end of the list");
}

#[test]
fn the_pmu_is_hidden_unless_it_is_asked_for() {
    let hidden = guest("host", 1, 0);
    let shown = guest("host,+pmu", 1, 0);

    assert_eq!(
        at(&hidden, 0xa, 0),
        CpuidEntry {
            function: 0xa,
            ..CpuidEntry::default()
        }
    );
    assert_eq!(at(&hidden, 0x8000_0022, 0).eax, 0);
    assert!(!has(&hidden, "perfctr_core"));
    assert_eq!(at(&shown, 0xa, 0), at(&amd(), 0xa, 0));
    assert_eq!(at(&shown, 0x8000_0022, 0), at(&amd(), 0x8000_0022, 0));
}

#[test]
fn kvm_s_signature_stays_and_names_the_timing_leaf() {
    let table = guest("host", 1, 0);

    let signature = CpuidEntry {
        eax: 0x4000_0010,
        ..at(&amd(), 0x4000_0000, 0)
    };
    assert_eq!(at(&table, 0x4000_0000, 0), signature);
    assert_eq!(at(&table, 0x4000_0001, 0), at(&amd(), 0x4000_0001, 0));
    assert_eq!(at(&table, 0x4000_0010, 0).eax, 2_596_140);
}

#[test]
fn of_power_there_is_the_timer_that_never_stops_and_the_invariant_tsc() {
    let table = guest("host", 1, 0);

    assert_eq!(
        at(&table, 6, 0),
        CpuidEntry {
            function: 6,
            eax: 4,
            ..CpuidEntry::default()
        }
    );
    let leaf = at(&table, 0x8000_0007, 0);
    assert_eq!([leaf.eax, leaf.ebx, leaf.ecx, leaf.edx], [0, 0, 0, 0x100]);
}

#[test]
fn what_builds_on_a_feature_goes_with_it() {
    let table = guest("host,-avx", 1, 0);

    for name in [
        "avx",
        "avx2",
        "fma",
        "avx512f",
        "avx512vl",
        "avx512_bf16",
        "vaes",
    ] {
        assert!(!has(&table, name), "{name}");
    }
    assert!(has(&table, "sse4_2"));
    assert_eq!(
        at(&table, 0xd, 0).eax,
        0x203,
        "x87, SSE and protection keys are left"
    );
    assert!(absent(&table, 0xd, 2) && absent(&table, 0xd, 7));
    assert_eq!(at(&table, 0xd, 0).ecx, 0x988);
}

#[test]
fn without_avx512_the_xsave_area_is_smaller() {
    let table = guest("host,-avx512f,-pku", 1, 0);

    assert!(has(&table, "avx2"));
    assert_eq!(at(&table, 0xd, 0).eax, 7);
    assert_eq!(at(&table, 0xd, 0).ecx, 0x340);
    assert!(
        !absent(&table, 0xd, 11),
        "supervisor state has its own place"
    );
}

#[test]
fn without_xsave_there_is_no_leaf_0d() {
    let table = guest("host,-xsave", 1, 0);

    assert!(absent(&table, 0xd, 0) && absent(&table, 0xd, 1));
    assert!(!has(&table, "avx") && !has(&table, "pku"));
}

#[test]
fn a_feature_the_host_lacks_is_an_error_that_says_where_it_would_be() {
    let cpu = "host,+amx_tile".parse().unwrap();

    let error = cpuid(&amd(), &cpu, &Topology::of(1), VcpuId(0), clocks()).unwrap_err();

    let message = "the host has no amx_tile (CPUID leaf 0x7.0, EDX bit 24)";
    assert_eq!(error.to_string(), message);
}

#[test]
fn a_feature_cannot_be_had_without_its_base() {
    let cpu = "host,+avx2,-avx".parse().unwrap();

    let error = cpuid(&amd(), &cpu, &Topology::of(1), VcpuId(0), clocks()).unwrap_err();

    assert_eq!(error, CpuidError::Excluded(Feature::named("avx2").unwrap()));
}

#[test]
fn what_the_hypervisor_offers_can_be_asked_for_and_taken_away() {
    assert!(has(
        &guest("host,+tsc_deadline_timer,+arat", 1, 0),
        "tsc_deadline_timer"
    ));
    assert!(!has(
        &guest("host,-tsc_deadline_timer", 1, 0),
        "tsc_deadline_timer"
    ));
}

#[test]
fn a_vcpu_that_is_not_the_machine_s_is_an_error() {
    let model = CpuModel::default();

    let error = cpuid(&amd(), &model, &Topology::of(2), VcpuId(2), clocks()).unwrap_err();

    assert_eq!(
        error,
        CpuidError::NoSuchVcpu {
            vcpu: VcpuId(2),
            vcpus: 2
        }
    );
}

fn any_entry() -> impl Strategy<Value = CpuidEntry> {
    let function = prop_oneof![
        0..0x20_u32,
        0x4000_0000..0x4000_0012_u32,
        0x8000_0000..0x8000_0024_u32,
        any::<u32>(),
    ];
    (function, 0..20_u32, any::<(bool, u32, u32, u32, u32)>()).prop_map(
        |(function, index, (significant_index, eax, ebx, ecx, edx))| CpuidEntry {
            function,
            index,
            significant_index,
            eax,
            ebx,
            ecx,
            edx,
        },
    )
}

/// Features that follow from the machine.
const DECIDED: [&str; 2] = ["ht", "cmp_legacy"];

#[test]
fn what_follows_from_the_machine_cannot_be_chosen() {
    let refused = |text: &str| {
        let model: CpuModel = text.parse().unwrap();
        match cpuid(&amd(), &model, &Topology::of(2), VcpuId(0), clocks()) {
            Err(CpuidError::Decided(feature)) => feature.name == &text[6..],
            _ => false,
        }
    };
    assert!(refused("host,-ht"));
    assert!(refused("host,-cmp_legacy"));
}

fn any_table() -> impl Strategy<Value = Vec<CpuidEntry>> {
    let entries = proptest::collection::vec(any_entry(), 0..80);
    (entries, any::<bool>()).prop_map(|(mut table, with_amd)| {
        if with_amd {
            table.extend(amd());
        }
        table
    })
}

/// Models that only take away what the machine does not decide, which no host can refuse.
fn any_model() -> impl Strategy<Value = CpuModel> {
    let features: Vec<_> = Feature::all()
        .filter(|feature| !DECIDED.contains(&feature.name))
        .collect();
    proptest::collection::vec(0..features.len(), 0..4).prop_map(move |picks| {
        let mut text = "host".to_owned();
        for feature in picks.into_iter().map(|pick| features[pick]) {
            text.push_str(",-");
            text.push_str(feature.name);
        }
        text.parse().unwrap()
    })
}

proptest! {
    #[test]
    fn any_host_s_table_comes_out_in_order_and_names_its_last_leaves(
        host in any_table(), model in any_model(), vcpus in 1..5000_u32, pick in any::<u32>(),
        tsc_khz in any::<Option<u32>>(), apic_khz in any::<Option<u32>>(),
    ) {
        let (topology, vcpu) = (Topology::of(vcpus), VcpuId(pick % vcpus));
        let clocks = Clocks { tsc_khz, apic_khz };

        let table = cpuid(&host, &model, &topology, vcpu, clocks).unwrap();

        let place = |leaf: &CpuidEntry| (leaf.function, leaf.index);
        prop_assert!(table.windows(2).all(|pair| place(&pair[0]) < place(&pair[1])));
        for first in [0, 0x4000_0000, 0x8000_0000] {
            let range = table.iter().filter(|leaf| leaf.function & !0xffff == first);
            let last = range.map(|leaf| leaf.function).max();
            if !absent(&table, first, 0) {
                prop_assert_eq!(Some(at(&table, first, 0).eax), last);
            }
        }
        prop_assert_eq!(at(&table, 0xb, 1).edx, vcpu.0);
        prop_assert!(vcpu.0 >> at(&table, 0xb, 1).eax == 0, "one package");
        for gone in model.unwanted() {
            prop_assert!(!has(&table, gone.name), "{gone}");
        }
    }

    #[test]
    fn a_table_made_for_a_guest_is_made_already(host in any_table(), model in any_model()) {
        let make = |host: &[CpuidEntry]| {
            cpuid(host, &model, &Topology::of(3), VcpuId(1), clocks()).unwrap()
        };

        let once = make(&host);

        prop_assert_eq!(&make(&once), &once);
    }

    #[test]
    fn a_model_reads_back_as_it_was_written(model in any_model()) {
        prop_assert_eq!(model.to_string().parse::<CpuModel>().unwrap(), model);
    }

    #[test]
    fn any_text_is_a_model_or_an_error(text in "(host)?[,+a-z0-9_-]{0,40}") {
        if let Ok(model) = text.parse::<CpuModel>() {
            prop_assert_eq!(model.to_string().parse::<CpuModel>().unwrap(), model);
        }
    }
}
