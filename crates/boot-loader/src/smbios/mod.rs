//! SMBIOS (DMTF DSP0134, version 3.3): the machine's maker, its serial number and UUID, its processors and
//! memory, and texts of the host for whoever reads them in the guest, as tables of a firmware.
//!
//! A kernel that is loaded without firmware looks for the entry point from 0xf0000 to 1 MiB
//! ([`load`](crate::load) writes it); firmware wants both parts as files and places them itself.

mod structure;
mod tables;

use thiserror::Error;

pub use tables::SmbiosTables;

/// The maximum number of texts in one structure, whose numbers are bytes.
const MAX_STRINGS: usize = 255;
/// The size of the memory that is set apart for all structures, in bytes.
pub const MAX_SIZE: usize = 0x1_0000;
/// The maximum size of all texts of a machine, in bytes: what numbers leave of that.
pub const MAX_TEXT: usize = 0xc000;

/// A machine as SMBIOS names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Smbios {
    /// The maker (type 1, Manufacturer); of the chassis and the processors too.
    pub manufacturer: Option<String>,
    /// The model (type 1, Product Name).
    pub product: Option<String>,
    /// Its version (type 1, Version).
    pub version: Option<String>,
    /// The serial number (type 1, Serial Number).
    pub serial: Option<String>,
    /// The universally unique ID (type 1, UUID), in the order of its text form.
    pub uuid: Option<[u8; 16]>,
    /// The configuration that is sold (type 1, SKU Number).
    pub sku: Option<String>,
    /// The models that it belongs to (type 1, Family).
    pub family: Option<String>,
    /// Texts for programs of the guest (type 11, OEM Strings), such as credentials for systemd.
    pub oem_strings: Vec<String>,
}

/// The arrangement of the processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processors {
    /// Packages.
    pub sockets: u32,
    /// Cores in a package.
    pub cores: u32,
    /// Threads in a core.
    pub threads: u32,
}

impl Smbios {
    /// Whether all of it can be written.
    ///
    /// # Errors
    /// [`SmbiosError`]: which field cannot.
    pub fn check(&self) -> Result<(), SmbiosError> {
        let one = [
            ("manufacturer", &self.manufacturer),
            ("product", &self.product),
            ("version", &self.version),
            ("serial", &self.serial),
            ("sku", &self.sku),
            ("family", &self.family),
        ];
        let one = one
            .into_iter()
            .filter_map(|(field, text)| Some((field, text.as_ref()?)));
        let texts = one.chain(self.oem_strings.iter().map(|text| ("oem_strings", text)));
        let mut size = 0_usize;
        for (field, text) in texts {
            if text.contains('\0') {
                return Err(SmbiosError::Nul { field });
            }
            if text.is_empty() {
                return Err(SmbiosError::Empty { field });
            }
            size = size.saturating_add(text.len() + 1);
        }
        match size {
            ..=MAX_TEXT => Ok(()),
            _ => Err(SmbiosError::TooLarge { size }),
        }
    }
}

impl Processors {
    /// `sockets` packages of `cores` cores each, of `threads` threads each.
    pub fn new(sockets: u32, cores: u32, threads: u32) -> Self {
        Self {
            sockets,
            cores,
            threads,
        }
    }
}

/// Why there are no such tables.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SmbiosError {
    /// A text ends at its first NUL.
    #[error("{field} has a NUL byte")]
    Nul {
        /// The field of [`Smbios`].
        field: &'static str,
    },
    /// An empty text would end the texts of its structure.
    #[error("{field} is empty")]
    Empty {
        /// The field of [`Smbios`].
        field: &'static str,
    },
    /// No room is left.
    #[error("{size} bytes of text: there is room for {MAX_TEXT}")]
    TooLarge {
        /// The size of all texts in bytes, each with its end.
        size: usize,
    },
}
