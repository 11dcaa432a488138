//! Parts of a machine beside CPUs, memory and devices that were chosen.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{CredentialSpec, Fault, Given, SmbiosSpec, Unknown, path_text};

/// Parts of a machine beside CPUs, memory and devices that were chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PlatformSpec {
    /// Describe it by ACPI tables.
    pub acpi: bool,
    /// Insist on an MP table.
    pub mp_table: bool,
    /// Where the interrupt controllers are.
    pub irqchip: IrqchipPlace,
    /// The 8254 timer (PIT); without a word there is one where there can be.
    pub legacy_timer: Option<bool>,
    /// How virtio devices are attached.
    pub virtio: VirtioSpec,
    /// Where the bytes of debug port 0x402 go.
    pub debug_port: DebugPortSpec,
    /// The machine as SMBIOS tables name it; without a word there are such tables where firmware or a credential
    /// wants them.
    pub smbios: Option<SmbiosSpec>,
    /// Credentials for systemd.
    pub credentials: Vec<CredentialSpec>,
}

impl Default for PlatformSpec {
    fn default() -> Self {
        Self {
            acpi: true,
            mp_table: false,
            irqchip: IrqchipPlace::default(),
            legacy_timer: None,
            virtio: VirtioSpec::default(),
            debug_port: DebugPortSpec::default(),
            smbios: None,
            credentials: Vec::new(),
        }
    }
}

words_of! {
    /// Where the interrupt controllers are.
    IrqchipPlace {
        /// All in the host's kernel.
        #[default]
        Kernel = "kernel",
        /// Local APICs in the host's kernel, the I/O APIC in the VMM; no 8259 and no 8254.
        Split = "split",
    }
}

impl IrqchipPlace {
    /// One of [`WORDS`](Self::WORDS).
    ///
    /// # Errors
    /// [`Unknown::Irqchip`].
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        Ok(Self::named(given.as_text()).ok_or(Unknown::Irqchip)?)
    }
}

/// A whole value that is on or off.
///
/// # Errors
/// [`Unknown::Switch`].
pub fn switch_value(given: &Given) -> Result<bool, Fault> {
    match given.as_text() {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(Unknown::Switch.into()),
    }
}

/// How virtio devices are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct VirtioSpec {
    /// By which transport.
    pub transport: Transport,
    /// Offer packed queues.
    pub packed: bool,
}

words_of! {
    /// How virtio devices are found and reached.
    Transport {
        /// By MMIO (virtio 1.2, 4.2).
        #[default]
        Mmio = "mmio",
        /// By PCI (virtio 1.2, 4.1).
        Pci = "pci",
    }
}

impl VirtioSpec {
    /// Each as it is written.
    pub const WORDS: &'static [&'static str] = &["mmio", "pci", "mmio,packed", "pci,packed"];

    /// One of [`WORDS`](Self::WORDS).
    ///
    /// # Errors
    /// [`Unknown::Transport`], [`Unknown::QueueFormat`].
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        let mut words = given.words().iter().map(String::as_str);
        let transport = words.next().and_then(Transport::named);
        let transport = transport.ok_or(Unknown::Transport)?;
        let rest: Vec<&str> = words.collect();
        let packed = match rest.as_slice() {
            [] => false,
            ["packed"] => true,
            other => return Err(Unknown::QueueFormat(other.join(",")).into()),
        };
        Ok(Self { transport, packed })
    }
}

impl fmt::Display for VirtioSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let packed = if self.packed { ",packed" } else { "" };
        write!(f, "{}{packed}", self.transport)
    }
}

/// Where the bytes of debug port 0x402 go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DebugPortSpec {
    /// There is no such port.
    #[default]
    Null,
    /// Messages of this process.
    Stderr,
    /// The end of a file.
    File(PathBuf),
}

impl DebugPortSpec {
    /// How each begins.
    pub const WORDS: &'static [&'static str] = &["null", "stderr", "file="];

    /// `null`, `stderr` or `file=PATH`. A comma is part of a path.
    ///
    /// # Errors
    /// [`Unknown::Place`].
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        let text = given.as_text();
        match text.split_once('=') {
            None if text == "null" => Ok(Self::Null),
            None if text == "stderr" => Ok(Self::Stderr),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(given.path(path))),
            _ => Err(Unknown::Place.into()),
        }
    }

    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Null | Self::Stderr => None,
        }
    }
}

impl fmt::Display for DebugPortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => write!(f, "file={}", path_text::of_path(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_may_have_packed_queues() {
        let parsed = |text| VirtioSpec::parse(&Given::text(text));
        for word in VirtioSpec::WORDS {
            assert_eq!(parsed(word).unwrap().to_string(), *word);
        }
        let unknown = |text| match parsed(text).unwrap_err() {
            Fault::Unknown(unknown) => unknown,
            other => panic!("{other}"),
        };
        for text in ["isa", "packed", ""] {
            assert_eq!(unknown(text), Unknown::Transport, "{text}");
        }
        for (text, format) in [
            ("pci,fast", "fast"),
            ("pci,", ""),
            ("pci,packed,x", "packed,x"),
        ] {
            assert_eq!(unknown(text), Unknown::QueueFormat(format.to_owned()));
        }
    }

    #[test]
    fn a_place_is_written_as_it_is_read() {
        let parsed = |text| DebugPortSpec::parse(&Given::text(text));
        for text in ["null", "stderr", "file=a,b=c"] {
            assert_eq!(parsed(text).unwrap().to_string(), text);
        }
        for text in ["", "file", "file=", "stdout"] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}
