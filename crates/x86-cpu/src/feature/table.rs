//! The names of CPUID's feature bits as Linux's /proc/cpuinfo spells them; places from Intel SDM
//! vol. 2A, "CPUID", tables 3-8 to 3-20, and AMD APM vol. 3, appendix E.

use super::Register::{self, Eax, Ebx, Ecx, Edx};

/// One register of one leaf.
pub(super) struct Word {
    pub(super) function: u32,
    pub(super) index: u32,
    pub(super) register: Register,
    pub(super) bits: &'static [(u32, &'static str)],
}

const fn word(
    (function, index, register): (u32, u32, Register),
    bits: &'static [(u32, &'static str)],
) -> Word {
    Word {
        function,
        index,
        register,
        bits,
    }
}

#[rustfmt::skip] // a row is eight bits or so
pub(super) const WORDS: &[Word] = &[
    // Intel SDM vol. 2A, table 3-11.
    word((1, 0, Edx), &[
        (0, "fpu"), (1, "vme"), (2, "de"), (3, "pse"), (4, "tsc"), (5, "msr"), (6, "pae"),
        (7, "mce"), (8, "cx8"), (9, "apic"), (11, "sep"), (12, "mtrr"), (13, "pge"), (14, "mca"),
        (15, "cmov"), (16, "pat"), (17, "pse36"), (18, "pn"), (19, "clflush"), (21, "dts"),
        (22, "acpi"), (23, "mmx"), (24, "fxsr"), (25, "sse"), (26, "sse2"), (27, "ss"),
        (28, "ht"), (29, "tm"), (31, "pbe"),
    ]),
    // Intel SDM vol. 2A, table 3-10.
    word((1, 0, Ecx), &[
        (0, "pni"), (1, "pclmulqdq"), (2, "dtes64"), (3, "monitor"), (4, "ds_cpl"), (5, "vmx"),
        (6, "smx"), (7, "est"), (8, "tm2"), (9, "ssse3"), (10, "cid"), (11, "sdbg"), (12, "fma"),
        (13, "cx16"), (14, "xtpr"), (15, "pdcm"), (17, "pcid"), (18, "dca"), (19, "sse4_1"),
        (20, "sse4_2"), (21, "x2apic"), (22, "movbe"), (23, "popcnt"),
        (24, "tsc_deadline_timer"), (25, "aes"), (26, "xsave"), (28, "avx"), (29, "f16c"),
        (30, "rdrand"), (31, "hypervisor"),
    ]),
    // Intel SDM vol. 3B, 15.8: the rest of leaf 6 is the host's own business.
    word((6, 0, Eax), &[(2, "arat")]),
    // Intel SDM vol. 2A, table 3-8, leaf 7.
    word((7, 0, Ebx), &[
        (0, "fsgsbase"), (1, "tsc_adjust"), (2, "sgx"), (3, "bmi1"), (4, "hle"), (5, "avx2"),
        (7, "smep"), (8, "bmi2"), (9, "erms"), (10, "invpcid"), (11, "rtm"), (12, "cqm"),
        (14, "mpx"), (15, "rdt_a"), (16, "avx512f"), (17, "avx512dq"), (18, "rdseed"),
        (19, "adx"), (20, "smap"), (21, "avx512ifma"), (23, "clflushopt"), (24, "clwb"),
        (25, "intel_pt"), (26, "avx512pf"), (27, "avx512er"), (28, "avx512cd"), (29, "sha_ni"),
        (30, "avx512bw"), (31, "avx512vl"),
    ]),
    word((7, 0, Ecx), &[
        (1, "avx512vbmi"), (2, "umip"), (3, "pku"), (5, "waitpkg"), (6, "avx512_vbmi2"),
        (8, "gfni"), (9, "vaes"), (10, "vpclmulqdq"), (11, "avx512_vnni"), (12, "avx512_bitalg"),
        (13, "tme"), (14, "avx512_vpopcntdq"), (16, "la57"), (22, "rdpid"),
        (24, "bus_lock_detect"), (25, "cldemote"), (27, "movdiri"), (28, "movdir64b"),
        (29, "enqcmd"), (30, "sgx_lc"),
    ]),
    word((7, 0, Edx), &[
        (2, "avx512_4vnniw"), (3, "avx512_4fmaps"), (4, "fsrm"), (8, "avx512_vp2intersect"),
        (10, "md_clear"), (14, "serialize"), (16, "tsxldtrk"), (18, "pconfig"), (19, "arch_lbr"),
        (20, "ibt"), (22, "amx_bf16"), (23, "avx512_fp16"), (24, "amx_tile"), (25, "amx_int8"),
        (26, "spec_ctrl"), (27, "intel_stibp"), (28, "flush_l1d"), (29, "arch_capabilities"),
        (30, "core_capabilities"), (31, "ssbd"),
    ]),
    word((7, 1, Eax), &[
        (0, "sha512"), (1, "sm3"), (2, "sm4"), (4, "avx_vnni"), (5, "avx512_bf16"),
        (7, "cmpccxadd"), (10, "fzrm"), (11, "fsrs"), (12, "fsrc"), (17, "fred"), (18, "lkgs"),
        (19, "wrmsrns"), (21, "amx_fp16"), (23, "avx_ifma"), (26, "lam"),
    ]),
    word((7, 1, Edx), &[
        (4, "avx_vnni_int8"), (5, "avx_ne_convert"), (8, "amx_complex"), (10, "avx_vnni_int16"),
        (14, "prefetchi"), (19, "avx10"),
    ]),
    // Intel SDM vol. 2A, table 3-8, leaf 0DH.
    word((0xd, 1, Eax), &[
        (0, "xsaveopt"), (1, "xsavec"), (2, "xgetbv1"), (3, "xsaves"), (4, "xfd"),
    ]),
    // AMD APM vol. 3, E.4.2.
    word((0x8000_0001, 0, Edx), &[
        (11, "syscall"), (19, "mp"), (20, "nx"), (22, "mmxext"), (25, "fxsr_opt"),
        (26, "pdpe1gb"), (27, "rdtscp"), (29, "lm"), (30, "3dnowext"), (31, "3dnow"),
    ]),
    word((0x8000_0001, 0, Ecx), &[
        (0, "lahf_lm"), (1, "cmp_legacy"), (2, "svm"), (3, "extapic"), (4, "cr8_legacy"),
        (5, "abm"), (6, "sse4a"), (7, "misalignsse"), (8, "3dnowprefetch"), (9, "osvw"),
        (10, "ibs"), (11, "xop"), (12, "skinit"), (13, "wdt"), (15, "lwp"), (16, "fma4"),
        (17, "tce"), (19, "nodeid_msr"), (21, "tbm"), (22, "topoext"), (23, "perfctr_core"),
        (24, "perfctr_nb"), (26, "bpext"), (27, "ptsc"), (28, "perfctr_llc"), (29, "mwaitx"),
    ]),
    // AMD APM vol. 3, E.4.5; Linux spells the bit by its meaning.
    word((0x8000_0007, 0, Edx), &[(8, "constant_tsc")]),
    // AMD APM vol. 3, E.4.6.
    word((0x8000_0008, 0, Ebx), &[
        (0, "clzero"), (1, "irperf"), (2, "xsaveerptr"), (4, "rdpru"), (9, "wbnoinvd"),
        (12, "ibpb"), (14, "ibrs"), (15, "stibp"), (16, "ibrs_always_on"),
        (17, "stibp_always_on"), (18, "ibrs_preferred"), (23, "amd_ppin"), (24, "amd_ssbd"),
        (25, "virt_ssbd"), (26, "amd_ssb_no"), (28, "amd_psfd"), (29, "btc_no"),
    ]),
];
