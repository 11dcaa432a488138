//! The text of a profile, TOML.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;
use vmmkit_hypervisor::x86::Msr;

use super::{Others, Profile, Word, Words, machine};

/// Sub-leaves in a profile: what a hypervisor takes (KVM_MAX_CPUID_ENTRIES), so that no text makes more.
const MOST_LEAVES: usize = 256;
/// MSRs in a profile.
const MOST_MSRS: usize = 128;

/// Why a text is no profile.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {reason}")]
pub struct ProfileError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: String,
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
            reason: error.message().replace('\n', " "),
        })?;
        let refused = |at: usize, reason: String| ProfileError {
            line: line(at),
            reason,
        };
        if let Some(vendor) = file.vendor.as_ref().filter(|it| it.get_ref().len() != 12) {
            let reason = format!("vendor {:?} has not 12 letters", vendor.get_ref());
            return Err(refused(vendor.span().start, reason));
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
            if leaves.len() == MOST_LEAVES {
                return Err(refused(at, format!("more than {MOST_LEAVES} leaves")));
            }
            match leaves.entry(place) {
                Entry::Vacant(free) => free.insert(words),
                Entry::Occupied(_) => {
                    let (function, index) = place;
                    let reason = format!("leaf {function:#x}.{index} is there twice");
                    return Err(refused(at, reason));
                }
            };
        }
        let mut msrs: Vec<Msr> = Vec::new();
        for msr in file.msr {
            let at = msr.span().start;
            let msr = msr_of(msr.into_inner()).map_err(|it| refused(at, it))?;
            if msrs.len() == MOST_MSRS {
                return Err(refused(at, format!("more than {MOST_MSRS} MSRs")));
            }
            if msrs.iter().any(|other| other.index == msr.index) {
                return Err(refused(at, format!("MSR {:#x} is there twice", msr.index)));
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

fn leaf_of(leaf: FileLeaf) -> Result<((u32, u32), Words), String> {
    let function = leaf.leaf;
    if machine::decides(function) {
        return Err(format!(
            "leaf {function:#x} follows from the machine: leave it out"
        ));
    }
    let word = |name: &str, word: Option<FileWord>| match word {
        None => Ok(Word::default()),
        Some(FileWord::Whole(value)) => Ok(Word {
            mask: u32::MAX,
            value,
        }),
        Some(FileWord::Part(Part { mask, value })) if value & !mask == 0 => {
            Ok(Word { mask, value })
        }
        Some(FileWord::Part(Part { mask, value })) => Err(format!(
            "leaf {function:#x}: {name} has a value, {value:#x}, outside of its mask, {mask:#x}"
        )),
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

fn msr_of(msr: FileMsr) -> Result<Msr, String> {
    let value = match msr.value {
        FileValue::Number(value) => value,
        FileValue::Text(text) => {
            let digits = text.strip_prefix("0x");
            let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            number.ok_or_else(|| format!("{text:?} is no number of 64 bits such as \"0x1\""))?
        }
    };
    Ok(Msr {
        index: msr.index,
        value,
    })
}
