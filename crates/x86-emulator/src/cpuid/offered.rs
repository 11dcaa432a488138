//! Which instructions CPUID offers: one that it does not is an invalid opcode.

use iced_x86::{CpuidFeature, Instruction, Mnemonic};
use vmmkit_hypervisor::x86::CpuidEntry;

use super::Cpuid;

/// A register of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

use Register::{Eax, Ebx, Ecx, Edx};

/// Where CPUID reports a feature: leaf, sub-leaf, register, bit.
type Bit = (u32, u32, Register, u32);

/// The feature that decides whether an instruction exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feature {
    /// Every CPU with 64-bit mode has it.
    Always,
    /// CPUID says so.
    Bit(Bit),
    /// No CPU that a hypervisor shows to a guest has it.
    Never,
}

impl Cpuid {
    /// Whether the CPU that the guest sees has `instruction`.
    pub(crate) fn offers(&self, instruction: &Instruction) -> bool {
        // UD0, UD1 and UD2 are what they are for.
        let undefined = matches!(
            instruction.mnemonic(),
            Mnemonic::INVALID | Mnemonic::Ud0 | Mnemonic::Ud1 | Mnemonic::Ud2
        );
        !undefined
            && instruction
                .cpuid_features()
                .iter()
                .all(|feature| match feature_of(*feature) {
                    Feature::Always => true,
                    Feature::Bit(bit) => self.has(bit),
                    Feature::Never => false,
                })
    }

    fn has(&self, (leaf, subleaf, register, bit): Bit) -> bool {
        let is_this = |entry: &&CpuidEntry| entry.function == leaf && entry.index == subleaf;
        self.features.iter().find(is_this).is_some_and(|entry| {
            let word = match register {
                Eax => entry.eax,
                Ebx => entry.ebx,
                Ecx => entry.ecx,
                Edx => entry.edx,
            };
            word >> bit & 1 != 0
        })
    }
}

/// Intel SDM vol. 2A, CPUID, and AMD APM vol. 3, appendix E.
fn feature_of(feature: CpuidFeature) -> Feature {
    use CpuidFeature as F;
    basic(feature)
        .or_else(|| avx512(feature))
        .or_else(|| structured(feature))
        .map_or_else(
            || match feature {
                F::INTEL8086
                | F::INTEL186
                | F::INTEL286
                | F::INTEL386
                | F::INTEL486
                | F::X64
                | F::CPUID
                | F::CX8
                | F::CMOV
                | F::FPU
                | F::FPU287
                | F::FPU387
                | F::FXSR
                | F::CLFSH
                | F::MMX
                | F::MSR
                | F::MULTIBYTENOP
                | F::PAUSE
                | F::RDPMC
                | F::SSE
                | F::SSE2
                | F::SYSCALL
                | F::TSC
                // The prefixes of hardware lock elision are ignored where they mean nothing.
                | F::HLE
                | F::HLE_or_RTM => Feature::Always,
                _ => Feature::Never,
            },
            Feature::Bit,
        )
}

/// Leaves 1, 0DH and those of AMD.
fn basic(feature: CpuidFeature) -> Option<Bit> {
    use CpuidFeature as F;
    Some(match feature {
        F::SSE3 => (1, 0, Ecx, 0),
        F::PCLMULQDQ => (1, 0, Ecx, 1),
        F::MONITOR => (1, 0, Ecx, 3),
        F::VMX | F::INVEPT | F::INVVPID => (1, 0, Ecx, 5),
        F::SMX => (1, 0, Ecx, 6),
        F::SSSE3 => (1, 0, Ecx, 9),
        F::FMA => (1, 0, Ecx, 12),
        F::CMPXCHG16B => (1, 0, Ecx, 13),
        F::SSE4_1 => (1, 0, Ecx, 19),
        F::SSE4_2 => (1, 0, Ecx, 20),
        F::MOVBE => (1, 0, Ecx, 22),
        F::POPCNT => (1, 0, Ecx, 23),
        F::AES => (1, 0, Ecx, 25),
        F::XSAVE => (1, 0, Ecx, 26),
        F::AVX => (1, 0, Ecx, 28),
        F::F16C => (1, 0, Ecx, 29),
        F::RDRAND => (1, 0, Ecx, 30),
        F::SEP => (1, 0, Edx, 11),
        F::XSAVEOPT => (0xd, 1, Eax, 0),
        F::XSAVEC => (0xd, 1, Eax, 1),
        F::XSAVES => (0xd, 1, Eax, 3),
        F::PTWRITE => (0x14, 0, Ebx, 4),
        F::AESKLE => (0x19, 0, Ebx, 0),
        F::WIDE_KL => (0x19, 0, Ebx, 2),
        F::SVM | F::SKINIT_or_SVM => (0x8000_0001, 0, Ecx, 2),
        F::LZCNT => (0x8000_0001, 0, Ecx, 5),
        F::SSE4A => (0x8000_0001, 0, Ecx, 6),
        F::PREFETCHW => (0x8000_0001, 0, Ecx, 8),
        F::XOP => (0x8000_0001, 0, Ecx, 11),
        F::SKINIT => (0x8000_0001, 0, Ecx, 12),
        F::LWP => (0x8000_0001, 0, Ecx, 15),
        F::FMA4 => (0x8000_0001, 0, Ecx, 16),
        F::TBM => (0x8000_0001, 0, Ecx, 21),
        F::MONITORX => (0x8000_0001, 0, Ecx, 29),
        F::RDTSCP => (0x8000_0001, 0, Edx, 27),
        F::D3NOWEXT => (0x8000_0001, 0, Edx, 30),
        F::D3NOW => (0x8000_0001, 0, Edx, 31),
        F::CLZERO => (0x8000_0008, 0, Ebx, 0),
        F::INVLPGB => (0x8000_0008, 0, Ebx, 3),
        F::RDPRU => (0x8000_0008, 0, Ebx, 4),
        F::MCOMMIT => (0x8000_0008, 0, Ebx, 8),
        F::WBNOINVD => (0x8000_0008, 0, Ebx, 9),
        F::SEV_ES => (0x8000_001f, 0, Eax, 3),
        F::SEV_SNP => (0x8000_001f, 0, Eax, 4),
        _ => return None,
    })
}

/// Leaf 7, but for AVX-512.
fn structured(feature: CpuidFeature) -> Option<Bit> {
    use CpuidFeature as F;
    Some(match feature {
        F::FSGSBASE => (7, 0, Ebx, 0),
        F::SGX1 => (7, 0, Ebx, 2),
        F::BMI1 => (7, 0, Ebx, 3),
        F::AVX2 => (7, 0, Ebx, 5),
        F::BMI2 => (7, 0, Ebx, 8),
        F::INVPCID => (7, 0, Ebx, 10),
        F::RTM => (7, 0, Ebx, 11),
        F::MPX => (7, 0, Ebx, 14),
        F::RDSEED => (7, 0, Ebx, 18),
        F::ADX => (7, 0, Ebx, 19),
        F::SMAP => (7, 0, Ebx, 20),
        F::PCOMMIT => (7, 0, Ebx, 22),
        F::CLFLUSHOPT => (7, 0, Ebx, 23),
        F::CLWB => (7, 0, Ebx, 24),
        F::SHA => (7, 0, Ebx, 29),
        F::PREFETCHWT1 => (7, 0, Ecx, 0),
        F::PKU => (7, 0, Ecx, 3),
        F::WAITPKG => (7, 0, Ecx, 5),
        F::CET_SS => (7, 0, Ecx, 7),
        F::GFNI => (7, 0, Ecx, 8),
        F::VAES => (7, 0, Ecx, 9),
        F::VPCLMULQDQ => (7, 0, Ecx, 10),
        F::RDPID => (7, 0, Ecx, 22),
        F::KL => (7, 0, Ecx, 23),
        F::CLDEMOTE => (7, 0, Ecx, 25),
        F::MOVDIRI => (7, 0, Ecx, 27),
        F::MOVDIR64B => (7, 0, Ecx, 28),
        F::ENQCMD => (7, 0, Ecx, 29),
        F::UINTR => (7, 0, Edx, 5),
        F::SERIALIZE => (7, 0, Edx, 14),
        F::TSXLDTRK => (7, 0, Edx, 16),
        F::PCONFIG => (7, 0, Edx, 18),
        F::CET_IBT => (7, 0, Edx, 20),
        F::AMX_BF16 => (7, 0, Edx, 22),
        F::AMX_TILE => (7, 0, Edx, 24),
        F::AMX_INT8 => (7, 0, Edx, 25),
        F::SHA512 => (7, 1, Eax, 0),
        F::SM3 => (7, 1, Eax, 1),
        F::SM4 => (7, 1, Eax, 2),
        F::RAO_INT => (7, 1, Eax, 3),
        F::AVX_VNNI => (7, 1, Eax, 4),
        F::CMPCCXADD => (7, 1, Eax, 7),
        F::FRED => (7, 1, Eax, 17),
        F::LKGS => (7, 1, Eax, 18),
        F::WRMSRNS => (7, 1, Eax, 19),
        F::AMX_FP16 => (7, 1, Eax, 21),
        F::HRESET => (7, 1, Eax, 22),
        F::AVX_IFMA => (7, 1, Eax, 23),
        F::MSRLIST => (7, 1, Eax, 27),
        F::AVX_VNNI_INT8 => (7, 1, Edx, 4),
        F::AVX_NE_CONVERT => (7, 1, Edx, 5),
        F::AMX_COMPLEX => (7, 1, Edx, 8),
        F::AVX_VNNI_INT16 => (7, 1, Edx, 10),
        F::PREFETCHITI => (7, 1, Edx, 14),
        _ => return None,
    })
}

/// AVX-512, in leaf 7.
fn avx512(feature: CpuidFeature) -> Option<Bit> {
    use CpuidFeature as F;
    Some(match feature {
        F::AVX512F => (7, 0, Ebx, 16),
        F::AVX512DQ => (7, 0, Ebx, 17),
        F::AVX512_IFMA => (7, 0, Ebx, 21),
        F::AVX512PF => (7, 0, Ebx, 26),
        F::AVX512ER => (7, 0, Ebx, 27),
        F::AVX512CD => (7, 0, Ebx, 28),
        F::AVX512BW => (7, 0, Ebx, 30),
        F::AVX512VL => (7, 0, Ebx, 31),
        F::AVX512_VBMI => (7, 0, Ecx, 1),
        F::AVX512_VBMI2 => (7, 0, Ecx, 6),
        F::AVX512_VNNI => (7, 0, Ecx, 11),
        F::AVX512_BITALG => (7, 0, Ecx, 12),
        F::AVX512_VPOPCNTDQ => (7, 0, Ecx, 14),
        F::AVX512_4VNNIW => (7, 0, Edx, 2),
        F::AVX512_4FMAPS => (7, 0, Edx, 3),
        F::AVX512_VP2INTERSECT => (7, 0, Edx, 8),
        F::AVX512_FP16 => (7, 0, Edx, 23),
        F::AVX512_BF16 => (7, 1, Eax, 5),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions};

    use super::*;

    fn offers(code: &[u8], leaves: &[CpuidEntry]) -> bool {
        let instruction = Decoder::new(64, code, DecoderOptions::NONE).decode();
        Cpuid::new(leaves).offers(&instruction)
    }

    fn leaf(function: u32, index: u32) -> CpuidEntry {
        CpuidEntry {
            function,
            index,
            eax: u32::MAX,
            ebx: u32::MAX,
            ecx: u32::MAX,
            edx: u32::MAX,
            ..CpuidEntry::default()
        }
    }

    /// Each with the leaf that reports it.
    const REPORTED: [(&[u8], u32, u32); 9] = [
        (&[0x66, 0x0f, 0x38, 0x82, 0x07], 7, 0), // INVPCID RAX, [RDI]
        (&[0x0f, 0x01, 0xfd], 0x8000_0008, 0),   // RDPRU
        (&[0x0f, 0x01, 0xf9], 0x8000_0001, 0),   // RDTSCP
        (&[0x0f, 0x01, 0xc8], 1, 0),             // MONITOR
        (&[0xc5, 0xfc, 0x77], 1, 0),             // VZEROALL
        (&[0x62, 0xf1, 0x7d, 0x48, 0xef, 0xc0], 7, 0), // VPXORD ZMM0, ZMM0, ZMM0
        (&[0x0f, 0xc7, 0x27], 0xd, 1),           // XSAVEC
        (&[0xf3, 0x0f, 0xae, 0xf0], 7, 0),       // UMONITOR RAX
        (&[0x0f, 0x01, 0xd9], 0x8000_0001, 0),   // VMMCALL
    ];

    #[test]
    fn an_instruction_is_offered_by_its_own_leaf_alone() {
        let leaves = [
            (1, 0),
            (7, 0),
            (7, 1),
            (0xd, 1),
            (0x8000_0001, 0),
            (0x8000_0008, 0),
        ];
        for (code, function, index) in REPORTED {
            assert!(!offers(code, &[]), "{code:x?}");
            for other in leaves {
                let offered = offers(code, &[leaf(other.0, other.1)]);
                assert_eq!(offered, other == (function, index), "{code:x?} {other:x?}");
            }
        }
    }

    #[test]
    fn what_every_64_bit_cpu_has_needs_no_leaf() {
        // MOV, FLDZ, PMULUDQ, RDMSR, SYSCALL, INT 21H
        for code in [
            &[0x48, 0x89, 0xc3][..],
            &[0xd9, 0xee],
            &[0x66, 0x0f, 0xf4, 0xc1],
            &[0x0f, 0x32],
            &[0x0f, 0x05],
            &[0xcd, 0x21],
        ] {
            assert!(offers(code, &[]), "{code:x?}");
        }
    }

    #[test]
    fn bytes_that_are_no_instruction_and_those_of_extinct_cpus_are_not_offered() {
        let all = [leaf(1, 0), leaf(7, 0), leaf(0x8000_0001, 0)];
        // PUSH ES, an undefined opcode, UD2, UD1 EAX, EAX; MONTMUL of VIA's PadLock.
        for code in [
            &[0x06][..],
            &[0x0f, 0x04, 0xc0],
            &[0x0f, 0x0b],
            &[0x0f, 0xb9, 0xc0],
            &[0xf3, 0x0f, 0xa6, 0xc0],
        ] {
            assert!(!offers(code, &all), "{code:x?}");
        }
    }
}
