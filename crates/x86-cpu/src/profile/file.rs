//! The text of a profile, TOML.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;
use vmmkit_hypervisor::x86::Msr;

use super::{Others, Profile, Word, Words, machine};

/// Sub-leaves in a profile: what a hypervisor takes (KVM_MAX_CPUID_ENTRIES), so that no text makes more.
const MAX_LEAVES: usize = 256;
/// MSRs in a profile.
const MAX_MSRS: usize = 128;

/// Why a text is not a profile.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {fault}")]
pub struct ProfileError {
    /// The line, from 1.
    pub line: usize,
    /// The fault in this line.
    pub fault: ProfileFault,
}

/// A fault in the text of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProfileFault {
    /// It is not TOML, or has unknown keys or values of another type: the parser's message.
    #[error("{0}")]
    Syntax(String),
    /// A vendor's name has 12 letters (Intel SDM vol. 2A, CPUID leaf 0).
    #[error("vendor {0:?} has not 12 letters")]
    Vendor(String),
    /// The machine decides this leaf, not its profile.
    #[error("leaf {0:#x} follows from the machine: leave it out")]
    Decided(u32),
    /// A register's value has bits that its mask does not have.
    #[error(
        "leaf {function:#x}: {register} has a value, {value:#x}, outside of its mask, {mask:#x}"
    )]
    OutsideMask {
        /// The leaf.
        function: u32,
        /// The register: `eax`, `ebx`, `ecx` or `edx`.
        register: &'static str,
        /// Its value.
        value: u32,
        /// Its mask.
        mask: u32,
    },
    /// A leaf is there twice.
    #[error("leaf {function:#x}.{index} is there twice")]
    LeafTwice {
        /// The leaf.
        function: u32,
        /// The sub-leaf.
        index: u32,
    },
    /// There are more leaves than this maximum.
    #[error("more than {0} leaves")]
    TooManyLeaves(usize),
    /// An MSR is there twice.
    #[error("MSR {0:#x} is there twice")]
    MsrTwice(u32),
    /// There are more MSRs than this maximum.
    #[error("more than {0} MSRs")]
    TooManyMsrs(usize),
    /// An MSR's value as text is not a hexadecimal number of 64 bits.
    #[error("{0:?} is not a number of 64 bits such as \"0x1\"")]
    MsrValue(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    vendor: Option<Spanned<String>>,
    #[serde(default)]
    others: FileOthers,
    #[serde(default)]
    cpuid: Vec<Spanned<FileLeaf>>,
    #[serde(default)]
    msr: Vec<Spanned<FileMsr>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum FileOthers {
    #[default]
    Absent,
    Host,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLeaf {
    leaf: u32,
    subleaf: Option<u32>,
    eax: Option<FileWord>,
    ebx: Option<FileWord>,
    ecx: Option<FileWord>,
    edx: Option<FileWord>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a number of 32 bits, or { mask = NUMBER, value = NUMBER }"
)]
enum FileWord {
    Whole(u32),
    Part(Part),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    mask: u32,
    value: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileMsr {
    index: u32,
    value: FileValue,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a number, or one of 64 bits as text: \"0x8000000000000000\""
)]
enum FileValue {
    Number(u64),
    Text(String),
}

impl Profile {
    /// The profile that `text` is, to be called `name`.
    ///
    /// # Errors
    /// [`ProfileError`] names the line.
    pub fn parse(name: &str, text: &str) -> Result<Self, ProfileError> {
        let line = |at: usize| {
            let before = text.get(..at).unwrap_or_default();
            before.matches('\n').count() + 1
        };
        let file: File = toml::from_str(text).map_err(|error: toml::de::Error| ProfileError {
            line: error.span().map_or(1, |span| line(span.start)),
            fault: ProfileFault::Syntax(error.message().replace('\n', " ")),
        })?;
        let refused = |at: usize, fault: ProfileFault| ProfileError {
            line: line(at),
            fault,
        };
        if let Some(vendor) = file.vendor.as_ref().filter(|it| it.get_ref().len() != 12) {
            let fault = ProfileFault::Vendor(vendor.get_ref().clone());
            return Err(refused(vendor.span().start, fault));
        }
        let others = match file.others {
            FileOthers::Absent => Others::Absent,
            FileOthers::Host => Others::Host,
        };
        let mut leaves = BTreeMap::new();
        for leaf in file.cpuid {
            let at = leaf.span().start;
            let (place, mut words) = leaf_of(leaf.into_inner()).map_err(|it| refused(at, it))?;
            if others == Others::Absent {
                words.words.iter_mut().for_each(|word| word.mask = u32::MAX);
            }
            if leaves.len() == MAX_LEAVES {
                return Err(refused(at, ProfileFault::TooManyLeaves(MAX_LEAVES)));
            }
            match leaves.entry(place) {
                Entry::Vacant(free) => free.insert(words),
                Entry::Occupied(_) => {
                    let (function, index) = place;
                    return Err(refused(at, ProfileFault::LeafTwice { function, index }));
                }
            };
        }
        let mut msrs: Vec<Msr> = Vec::new();
        for msr in file.msr {
            let at = msr.span().start;
            let msr = msr_of(msr.into_inner()).map_err(|it| refused(at, it))?;
            if msrs.len() == MAX_MSRS {
                return Err(refused(at, ProfileFault::TooManyMsrs(MAX_MSRS)));
            }
            if msrs.iter().any(|other| other.index == msr.index) {
                return Err(refused(at, ProfileFault::MsrTwice(msr.index)));
            }
            msrs.push(msr);
        }
        Ok(Self {
            name: name.to_owned(),
            vendor: file.vendor.map(Spanned::into_inner),
            others,
            leaves,
            msrs,
        })
    }
}

fn leaf_of(leaf: FileLeaf) -> Result<((u32, u32), Words), ProfileFault> {
    let function = leaf.leaf;
    if machine::decides(function) {
        return Err(ProfileFault::Decided(function));
    }
    let word = |register: &'static str, word: Option<FileWord>| match word {
        None => Ok(Word::default()),
        Some(FileWord::Whole(value)) => Ok(Word {
            mask: u32::MAX,
            value,
        }),
        Some(FileWord::Part(Part { mask, value })) if value & !mask == 0 => {
            Ok(Word { mask, value })
        }
        Some(FileWord::Part(Part { mask, value })) => Err(ProfileFault::OutsideMask {
            function,
            register,
            value,
            mask,
        }),
    };
    let words = [
        word("eax", leaf.eax)?,
        word("ebx", leaf.ebx)?,
        word("ecx", leaf.ecx)?,
        word("edx", leaf.edx)?,
    ];
    let indexed = leaf.subleaf.is_some();
    Ok((
        (function, leaf.subleaf.unwrap_or(0)),
        Words { indexed, words },
    ))
}

fn msr_of(msr: FileMsr) -> Result<Msr, ProfileFault> {
    let value = match msr.value {
        FileValue::Number(value) => value,
        FileValue::Text(text) => {
            let digits = text.strip_prefix("0x");
            let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            number.ok_or(ProfileFault::MsrValue(text))?
        }
    };
    Ok(Msr {
        index: msr.index,
        value,
    })
}
