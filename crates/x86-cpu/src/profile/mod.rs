//! A CPU as data: what each leaf of CPUID and some MSRs are to say, whatever host the guest is on.

mod apply;
mod bit;
mod built_in;
mod difference;
mod dump;
mod file;
mod machine;

use std::collections::BTreeMap;

use vmmkit_hypervisor::x86::Msr;

pub use bit::Bit;
pub(crate) use built_in::BuiltIn;
pub use difference::Difference;
pub use dump::CPU_MSRS;
pub use file::{ProfileError, ProfileFault};

/// A CPU as data. It decides bits: each is as the profile says or, where it says nothing, as `others`
/// says. A guest that has one sees the same CPU on any host that has all of it.
///
/// Its text is TOML, as [`Display`](std::fmt::Display) writes it and [`parse`](Self::parse) reads it:
///
/// ```
/// use vmmkit_x86_cpu::Profile;
///
/// let profile = Profile::parse(
///     "small",
///     r#"
///     vendor = "AuthenticAMD"     # only for hosts of this vendor; optional
///     others = "host"             # what is not named below is the host's; or "absent": it is 0
///
///     [[cpuid]]
///     leaf = 0x7
///     subleaf = 0                 # for a leaf that has them
///     ebx = { mask = 0x20, value = 0 }  # bit 5, avx2, is 0, all others are as `others` says
///     ecx = 0                     # all 32 bits
///
///     [[msr]]
///     index = 0x10a
///     value = 0
///     "#,
/// )?;
/// assert_eq!(profile.name(), "small");
/// # Ok::<(), vmmkit_x86_cpu::ProfileError>(())
/// ```
///
/// The machine decides some leaves, and a profile has none of them: topology (0xb, 0x1f, 0x8000001e,
/// 0x80000026), clocks (0x15, 0x16, 0x40000010) and the hypervisor's signature (0x40000000).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    name: String,
    vendor: Option<String>,
    others: Others,
    leaves: BTreeMap<(u32, u32), Words>,
    msrs: Vec<Msr>,
}

/// The meaning of CPUID leaves that a profile does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Others {
    /// It is 0.
    #[default]
    Absent,
    /// It is as on the host.
    Host,
}

/// EAX, EBX, ECX and EDX of one sub-leaf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Words {
    /// The leaf has sub-leaves.
    indexed: bool,
    words: [Word; 4],
}

/// Some bits of a register: those of `mask` are as in `value`, which has no others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Word {
    mask: u32,
    value: u32,
}

impl Profile {
    /// Its name in messages: the name of its file, or its own.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The vendor of the hosts that it is for, as CPUID spells it; without one it is for all.
    pub fn vendor(&self) -> Option<&str> {
        self.vendor.as_deref()
    }

    /// The MSRs that each vCPU starts with, beside those of any guest.
    pub fn msrs(&self) -> &[Msr] {
        &self.msrs
    }

    /// Whether it has something to say of performance counters.
    pub(crate) fn has_pmu(&self) -> bool {
        let counters = [0xa, 0x8000_0022].map(|leaf| self.leaves.get(&(leaf, 0)));
        let mut words = counters.into_iter().flatten().flat_map(|leaf| leaf.words);
        words.any(|word| word.value != 0)
    }
}

#[cfg(test)]
mod tests;
