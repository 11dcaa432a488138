//! The maker of a platform, as tables of the firmware name it.

/// The maker of a platform. Operating systems show it, and some choose workarounds by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oem {
    /// The OEM ID of the ACPI tables (ACPI 6.5, table 5.4) and of the MP table, there with two spaces after it.
    pub id: [u8; 6],
    /// The OEM Table ID of the ACPI tables: the platform among those of the maker.
    pub table_id: [u8; 8],
}

impl Oem {
    /// The makers of these crates.
    pub(crate) const DEFAULT: Self = Self {
        id: *b"VMMKIT",
        table_id: *b"VMMKITPC",
    };
}

impl Default for Oem {
    fn default() -> Self {
        Self::DEFAULT
    }
}
