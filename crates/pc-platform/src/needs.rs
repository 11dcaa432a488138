//! The needs of a device of an embedder's own.

use vmmkit_boot_loader::acpi::AcpiId;

/// The needs of a device of the embedder's own. The default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub(crate) ports: u8,
    pub(crate) mmio: u64,
    pub(crate) line: bool,
    pub(crate) acpi: Option<AcpiId>,
}

impl Needs {
    /// Nothing.
    pub const fn new() -> Self {
        Self {
            ports: 0,
            mmio: 0,
            line: false,
            acpi: None,
        }
    }

    /// So many I/O ports of [`FREE_PORTS`](crate::FREE_PORTS).
    #[must_use]
    pub const fn ports(mut self, count: u8) -> Self {
        self.ports = count;
        self
    }

    /// So many bytes of [`FREE_MMIO`](crate::FREE_MMIO), rounded up to pages of 4 KiB.
    #[must_use]
    pub const fn mmio(mut self, bytes: u64) -> Self {
        self.mmio = bytes;
        self
    }

    /// An interrupt of its own: edge-triggered, active high.
    #[must_use]
    pub const fn line(mut self) -> Self {
        self.line = true;
        self
    }

    /// A description in ACPI by which a driver for `id` finds it.
    #[must_use]
    pub const fn acpi(mut self, id: AcpiId) -> Self {
        self.acpi = Some(id);
        self
    }
}
