//! How much memory, and from where.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vmmkit_guest_memory::{Backing, RamConfig, RamSize, ThpAdvice};

use crate::given::path_word;
use crate::words::switch;
use crate::{Fault, Given, Words, serde_text};

/// Memory that Linux plugs at a time: a section of its memory map (SECTION_SIZE_BITS of x86-64). A part of one
/// at the end would never be used.
const SECTION: u64 = 128 << 20;
/// Of the machine's own huge pages, the size that most hosts have.
const HUGE_PAGE: u64 = 2 << 20;

/// The memory of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct MemorySpec {
    /// How much from the start, as text such as `256M`.
    #[serde(with = "serde_text")]
    pub size: RamSize,
    /// How much it may become while the guest runs.
    #[serde(with = "serde_text::option")]
    pub max: Option<RamSize>,
    /// From where; without it anonymous memory, or a memfd where another process must see it.
    pub backing: Option<BackingSpec>,
    /// Transparent huge pages.
    pub thp: Thp,
    /// Touch every page before the guest starts.
    pub prefault: bool,
    /// Let the host keep equal pages once (KSM).
    pub merge: bool,
    /// Let core dumps of this process hold the guest's memory.
    pub dump: bool,
}

/// Where memory comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackingSpec {
    /// Private anonymous memory.
    Anon,
    /// A memfd, which another process can map.
    Memfd,
    /// Huge pages of this many bytes from the host's reserve.
    Hugetlb(u64),
    /// A file, which holds what the guest writes.
    File(PathBuf),
}

words_of! {
    /// Advice on transparent huge pages.
    Thp {
        /// The host's own policy.
        #[default]
        Host = "host",
        /// Ask for huge pages.
        On = "on",
        /// Ask for none.
        Off = "off",
    }
}

/// Why there is no such memory.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MemoryFault {
    /// A back end that there is not.
    #[error("there is no backend {0}")]
    Backend(String),
    /// The maximum is a number of bytes that was meant as another unit.
    #[error("max={word} is {word} bytes: did you mean max={meant}?")]
    MaxWithoutUnit {
        /// The number.
        word: String,
        /// The same in mebibytes.
        meant: String,
    },
    /// The maximum is not a size.
    #[error("max={0} is not a size")]
    MaxNotASize(String),
    /// The maximum is not more than the size.
    #[error("max={max} is not more than the {size} from the start")]
    MaxTooSmall {
        /// The maximum.
        max: RamSize,
        /// The size.
        size: RamSize,
    },
    /// The maximum is not whole sections more than the size.
    #[error("what max={max} adds to {size} is not a multiple of 128M")]
    MaxMultiple {
        /// The maximum.
        max: RamSize,
        /// The size.
        size: RamSize,
        /// A maximum that is.
        possible: RamSize,
    },
    /// Memory of another back end cannot grow.
    #[error("memory is plugged from backend=anon or memfd only")]
    MaxBackend,
    /// Huge pages have no advice.
    #[error("thp is for memory whose pages are not huge already")]
    ThpOfHuge,
    /// Only anonymous memory is merged.
    #[error("the host merges pages of anonymous memory only")]
    MergeBackend,
    /// Another process must see it.
    #[error("a device of another process must see the guest's memory")]
    NotShared,
}

impl Default for MemorySpec {
    /// 256 MiB.
    fn default() -> Self {
        Self {
            size: RamConfig::default().size,
            max: None,
            backing: None,
            thp: Thp::Host,
            prefault: false,
            merge: false,
            dump: false,
        }
    }
}

impl MemorySpec {
    /// `SIZE,max=SIZE,backend=...,thp=on|off,prefault,merge,dump=on`.
    ///
    /// # Errors
    /// [`Fault`] says what of it cannot be.
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        let mut words = Words::new(given);
        let mut memory = Self::default();
        match words.bare_first() {
            Some(word) => memory.size = size(word)?,
            None if given.as_text().is_empty() => memory.size = size("")?,
            None => {}
        }
        if let Some(value) = words.value("backend")? {
            let known = backing(&words, value);
            let known = known.ok_or_else(|| MemoryFault::Backend(value.to_owned()));
            memory.backing = Some(known?);
        }
        memory.max = words.value("max")?.map(max).transpose()?;
        let thp = words.parsed("thp", "on or off", switch)?;
        memory.thp = match thp {
            None => Thp::Host,
            Some(true) => Thp::On,
            Some(false) => Thp::Off,
        };
        memory.dump = words
            .parsed("dump", "on or off", switch)?
            .unwrap_or_default();
        memory.prefault = words.flag("prefault")?;
        memory.merge = words.flag("merge")?;
        memory.check(false)?;
        words.end()?;
        Ok(memory)
    }

    /// Checks what of it does not go together; `is_shared` says that another process must see it.
    ///
    /// # Errors
    /// [`MemoryFault`].
    pub fn check(&self, is_shared: bool) -> Result<(), MemoryFault> {
        let backing = self.backing.as_ref().unwrap_or(&BackingSpec::Anon);
        if is_shared && self.backing == Some(BackingSpec::Anon) {
            return Err(MemoryFault::NotShared);
        }
        if let Some(max) = self.max {
            self.check_max(max)?;
            if !matches!(backing, BackingSpec::Anon | BackingSpec::Memfd) {
                return Err(MemoryFault::MaxBackend);
            }
        }
        if self.thp != Thp::Host && matches!(backing, BackingSpec::Hugetlb(_)) {
            return Err(MemoryFault::ThpOfHuge);
        }
        let is_anonymous = *backing == BackingSpec::Anon && !is_shared;
        if self.merge && !is_anonymous {
            return Err(MemoryFault::MergeBackend);
        }
        Ok(())
    }

    fn check_max(&self, max: RamSize) -> Result<(), MemoryFault> {
        let size = self.size;
        let more = max.bytes().saturating_sub(size.bytes());
        if more == 0 {
            return Err(MemoryFault::MaxTooSmall { max, size });
        }
        if more.is_multiple_of(SECTION) {
            return Ok(());
        }
        let possible = size.bytes() + (more - more % SECTION).max(SECTION);
        let possible = RamSize::new(possible).unwrap_or(max);
        Err(MemoryFault::MaxMultiple {
            max,
            size,
            possible,
        })
    }

    /// The memory as a machine has it; `is_shared` says that another process must see it.
    pub fn config(&self, is_shared: bool) -> RamConfig {
        RamConfig {
            size: self.size,
            max: self.max,
            backing: match &self.backing {
                None if is_shared => Backing::Memfd,
                None | Some(BackingSpec::Anon) => Backing::Anonymous,
                Some(BackingSpec::Memfd) => Backing::Memfd,
                Some(BackingSpec::Hugetlb(size)) => Backing::HugeTlb(*size),
                Some(BackingSpec::File(path)) => Backing::File(path.clone()),
            },
            thp: match self.thp {
                Thp::Host => ThpAdvice::Host,
                Thp::On => ThpAdvice::Always,
                Thp::Off => ThpAdvice::Never,
            },
            prefault: self.prefault,
            merge: self.merge,
            dump: self.dump,
            ..RamConfig::default()
        }
    }
}

/// The probable meaning of `word`, a number without a unit: other programs have mebibytes, or kibibytes where the
/// number is a large one, where it would be bytes here, and so few are of no use.
pub fn with_unit(word: &str) -> Option<String> {
    let number: u64 = word.parse().ok()?;
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit());
    let unit = match number {
        1..=0xf_ffff if number < 1 << 16 || number.is_power_of_two() => "M",
        1..=0xf_ffff => "K",
        _ => return None,
    };
    is_plain.then(|| format!("{number}{unit}"))
}

fn size(word: &str) -> Result<RamSize, Fault> {
    match with_unit(word) {
        Some(meant) => Err(Fault::NoUnit {
            word: word.to_owned(),
            meant,
        }),
        None => Ok(word.parse()?),
    }
}

fn max(word: &str) -> Result<RamSize, MemoryFault> {
    let word = word.to_owned();
    if let Some(meant) = with_unit(&word) {
        return Err(MemoryFault::MaxWithoutUnit { word, meant });
    }
    word.parse().map_err(|_| MemoryFault::MaxNotASize(word))
}

fn backing(words: &Words<'_>, text: &str) -> Option<BackingSpec> {
    match text.split_once('=') {
        Some(("file", path)) if !path.is_empty() => Some(BackingSpec::File(words.path(path))),
        Some(("hugetlb", size)) => {
            Some(BackingSpec::Hugetlb(size.parse::<RamSize>().ok()?.bytes()))
        }
        Some(_) => None,
        None => match text {
            "anon" => Some(BackingSpec::Anon),
            "memfd" => Some(BackingSpec::Memfd),
            "hugetlb" => Some(BackingSpec::Hugetlb(HUGE_PAGE)),
            _ => None,
        },
    }
}

impl fmt::Display for MemorySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.size.fmt(f)?;
        if let Some(max) = self.max {
            write!(f, ",max={max}")?;
        }
        match &self.backing {
            None => {}
            Some(BackingSpec::Anon) => f.write_str(",backend=anon")?,
            Some(BackingSpec::Memfd) => f.write_str(",backend=memfd")?,
            Some(BackingSpec::File(path)) => write!(f, ",backend=file={}", path_word(path))?,
            Some(BackingSpec::Hugetlb(bytes)) => match RamSize::new(*bytes) {
                Ok(size) => write!(f, ",backend=hugetlb={size}")?,
                Err(_) => write!(f, ",backend=hugetlb={bytes}")?,
            },
        }
        for (is_on, word) in [
            (self.thp == Thp::On, "thp=on"),
            (self.thp == Thp::Off, "thp=off"),
            (self.prefault, "prefault"),
            (self.merge, "merge"),
            (self.dump, "dump=on"),
        ] {
            if is_on {
                write!(f, ",{word}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(text: &str) -> Result<MemorySpec, Fault> {
        MemorySpec::parse(&Given::text(text))
    }

    fn parsed(text: &str) -> MemorySpec {
        parse(text).unwrap()
    }

    #[test]
    fn what_is_written_reads_back() {
        for line in [
            "256M",
            "4G,backend=memfd",
            "1G,backend=hugetlb=2M",
            "2G,backend=hugetlb=1G,prefault",
            "512M,backend=file=ram.img,thp=off,prefault,dump=on",
            "64M,thp=on,merge",
            "256M,max=1G",
            "256M,max=384M,backend=memfd,prefault",
        ] {
            assert_eq!(parsed(line).to_string(), line);
        }
        let anonymous = parsed("1G,backend=anon").config(false);
        assert_eq!(anonymous, parsed("1G").config(false));
        assert_eq!(
            parsed("1G,backend=hugetlb"),
            parsed("1G,backend=hugetlb=2M")
        );
    }

    #[test]
    fn a_back_end_without_a_size_gets_the_default() {
        let config = parsed("backend=memfd,prefault").config(false);
        assert_eq!(config.size, RamConfig::default().size);
        assert_eq!((config.backing, config.prefault), (Backing::Memfd, true));
    }

    #[test]
    fn memory_that_another_process_sees_is_a_memfd_unless_it_has_a_file_anyway() {
        let shared = |text| parsed(text).config(true).backing;
        assert_eq!(MemorySpec::default().config(true).backing, Backing::Memfd);
        assert_eq!(shared("1G"), Backing::Memfd);
        assert_eq!(shared("1G,backend=hugetlb"), Backing::HugeTlb(2 << 20));
        let anonymous = parsed("1G,backend=anon").check(true);
        assert_eq!(anonymous, Err(MemoryFault::NotShared));
        let merged = parsed("1G,merge").check(true);
        assert_eq!(merged, Err(MemoryFault::MergeBackend));
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (text, reason) in [
            ("1G,backend=disk", "there is no backend disk"),
            ("1G,backend=file=", "there is no backend file="),
            ("1G,backend=hugetlb=x", "there is no backend hugetlb=x"),
            ("1G,thp=maybe", "thp=maybe is not on or off"),
            ("1G,backend=hugetlb,thp=on", "thp is for memory whose pages"),
            (
                "1G,backend=memfd,merge",
                "the host merges pages of anonymous memory only",
            ),
            ("1G,max=x", "max=x is not a size"),
            (
                "1G,max=4096",
                "max=4096 is 4096 bytes: did you mean max=4096M?",
            ),
            (
                "4096",
                "4096 bytes of memory are too few: did you mean 4096M?",
            ),
            ("16384,merge", "16384 bytes of memory are too few"),
            ("1G,max=1G", "max=1G is not more than the 1G from the start"),
            ("max=128M", "max=128M is not more than the 256M"),
            (
                "1G,max=2G,backend=hugetlb",
                "memory is plugged from backend=anon or memfd",
            ),
            ("1G,fast", "there is no fast"),
            ("1G,2G", "there is no 2G"),
            ("", "this is not a size"),
            ("0", "a guest needs memory"),
        ] {
            let said = parse(text).unwrap_err().to_string();
            assert!(said.starts_with(reason), "{text}: {said}");
        }
        for (text, meant) in [("200M,max=1G", "968M"), ("200M,max=201M", "328M")] {
            let fault = parse(text).unwrap_err();
            let Fault::Memory(MemoryFault::MaxMultiple { possible, .. }) = fault else {
                panic!("{fault}");
            };
            assert_eq!(possible.to_string(), meant);
        }
    }

    #[test]
    fn the_file_of_a_configuration_lies_beside_it() {
        let moved = |text| {
            let given = Given::text(text).in_folder(Path::new("/vm"));
            MemorySpec::parse(&given).unwrap().to_string()
        };
        assert_eq!(moved("1G,backend=file=ram"), "1G,backend=file=/vm/ram");
        assert_eq!(moved("1G,backend=file=/ram"), "1G,backend=file=/ram");
    }
}
