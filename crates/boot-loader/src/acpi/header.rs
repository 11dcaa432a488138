//! The header that most tables start with.

/// The version of the platform.
pub(super) const OEM_REVISION: u32 = 1;

/// Size of the header that most tables start with (ACPI 6.5, table 5.4).
pub(super) const HEADER: u32 = 36;
