//! CPUID leaves as data.

use serde::{Deserialize, Serialize};

/// One CPUID leaf, or one sub-leaf of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuidEntry {
    /// The leaf: EAX on input.
    pub function: u32,
    /// The sub-leaf: ECX on input; meaningful where `significant_index` is set.
    pub index: u32,
    /// The answer depends on ECX (`KVM_CPUID_FLAG_SIGNIFCANT_INDEX`).
    pub significant_index: bool,
    /// EAX of the answer.
    pub eax: u32,
    /// EBX of the answer.
    pub ebx: u32,
    /// ECX of the answer.
    pub ecx: u32,
    /// EDX of the answer.
    pub edx: u32,
}
