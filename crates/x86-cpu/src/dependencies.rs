//! Which features mean nothing without another.

use crate::Feature;
use crate::leaves::Leaves;

/// A feature, and those that build on it (Intel SDM vol. 1, 14.3, 14.7, 15.2 and 18.1; vol. 3A,
/// 13.5; AMD APM vol. 4, 1.1).
const BUILT_ON: &[(&str, &[&str])] = &[
    ("fxsr", &["sse", "fxsr_opt"]),
    ("sse", &["sse2"]),
    ("sse2", &["pni", "aes", "pclmulqdq", "sha_ni", "gfni"]),
    ("pni", &["ssse3"]),
    ("ssse3", &["sse4_1"]),
    ("sse4_1", &["sse4_2"]),
    (
        "xsave",
        &[
            "xsaveopt", "xsavec", "xgetbv1", "xsaves", "avx", "pku", "mpx", "amx_tile",
        ],
    ),
    ("xsaves", &["xfd"]),
    ("xfd", &["amx_tile"]),
    (
        "avx",
        &[
            "avx2",
            "fma",
            "f16c",
            "fma4",
            "xop",
            "vaes",
            "vpclmulqdq",
            "avx_vnni",
            "avx_ifma",
            "avx_vnni_int8",
            "avx_vnni_int16",
            "avx_ne_convert",
            "sha512",
            "sm3",
            "sm4",
        ],
    ),
    ("avx2", &["avx512f"]),
    (
        "avx512f",
        &[
            "avx512dq",
            "avx512ifma",
            "avx512pf",
            "avx512er",
            "avx512cd",
            "avx512bw",
            "avx512vl",
            "avx512_4vnniw",
            "avx512_4fmaps",
            "avx512_vp2intersect",
            "avx512_vnni",
            "avx512_vpopcntdq",
            "avx10",
        ],
    ),
    (
        "avx512bw",
        &[
            "avx512vbmi",
            "avx512_vbmi2",
            "avx512_bitalg",
            "avx512_bf16",
            "avx512_fp16",
        ],
    ),
    (
        "amx_tile",
        &["amx_bf16", "amx_int8", "amx_fp16", "amx_complex"],
    ),
    ("lm", &["la57", "pcid", "cx16", "lahf_lm"]),
    ("pcid", &["invpcid"]),
    ("apic", &["x2apic", "tsc_deadline_timer", "extapic"]),
    (
        "tsc",
        &["tsc_adjust", "tsc_deadline_timer", "rdtscp", "constant_tsc"],
    ),
];

/// Takes away what builds on a feature that is not there.
pub(crate) fn prune(leaves: &mut Leaves) {
    // A feature comes before what builds on it, so that one pass reaches all.
    for (base, dependents) in BUILT_ON {
        let gone = Feature::named(base).is_some_and(|base| !leaves.has(&base));
        if gone {
            dependents
                .iter()
                .filter_map(|name| Feature::named(name))
                .for_each(|dependent| {
                    leaves.clear(&dependent);
                });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_feature_and_comes_before_what_builds_on_it() {
        let mut seen = Vec::new();
        for (base, dependents) in BUILT_ON {
            assert!(Feature::named(base).is_some(), "{base}");
            for dependent in *dependents {
                assert!(Feature::named(dependent).is_some(), "{dependent}");
                assert!(!seen.contains(dependent), "{dependent} came before {base}");
            }
            seen.push(base);
        }
    }
}
