//! Numbers of the PCI Local Bus Specification 3.0 ("PCI") and of the PCI Express Base Specification
//! 5.0 ("PCIe").

/// Bytes of a function's configuration space (PCI 6.1). Beyond them, up to 4096, a conventional
/// function reads as zeroes.
pub const CONFIG_SIZE: usize = 256;
/// Devices on a bus (PCI 3.2.2.3.4).
pub const DEVICES: u8 = 32;

/// Registers of a type 0 header (PCI 6.1, figure 6-1).
pub mod header {
    /// Vendor ID, 2 bytes.
    pub const VENDOR: usize = 0x00;
    /// Device ID, 2 bytes.
    pub const DEVICE: usize = 0x02;
    /// Command, 2 bytes.
    pub const COMMAND: usize = 0x04;
    /// Status, 2 bytes.
    pub const STATUS: usize = 0x06;
    /// Its revision, 1 byte.
    pub const REVISION: usize = 0x08;
    /// Its class: interface, subclass, class, 1 byte each.
    pub const CLASS: usize = 0x09;
    /// Cache line size, 1 byte: without meaning, and kept.
    pub const CACHE_LINE: usize = 0x0c;
    /// The first of 6 base addresses, 4 bytes each.
    pub const BAR: usize = 0x10;
    /// Behind the last of them.
    pub const BAR_END: usize = 0x28;
    /// Subsystem vendor ID, 2 bytes.
    pub const SUBSYSTEM_VENDOR: usize = 0x2c;
    /// Subsystem ID, 2 bytes.
    pub const SUBSYSTEM: usize = 0x2e;
    /// Where the first capability is, 1 byte.
    pub const CAPABILITIES: usize = 0x34;
    /// Interrupt line, 1 byte: the guest's to use.
    pub const INTERRUPT_LINE: usize = 0x3c;
    /// Where capabilities may begin.
    pub const END: usize = 0x40;
}

/// Bits of the command register (PCI 6.2.2).
pub mod command {
    /// Base addresses in ports are decoded.
    pub const IO: u16 = 1 << 0;
    /// Base addresses in memory are decoded.
    pub const MEMORY: u16 = 1 << 1;
    /// It may access memory itself.
    pub const MASTER: u16 = 1 << 2;
    /// It must not use its interrupt pin.
    pub const INTERRUPT_DISABLE: u16 = 1 << 10;
}

/// Bits of the status register (PCI 6.2.3).
pub mod status {
    /// It would use its interrupt pin.
    pub const INTERRUPT: u16 = 1 << 3;
    /// It has capabilities.
    pub const CAPABILITIES: u16 = 1 << 4;
}

/// Bits of a base address (PCI 6.2.5.1).
pub mod bar {
    /// An address in memory, 64 bits wide, in this register and the next.
    pub const MEMORY_64: u32 = 0x4;
    /// Reads have no side effects.
    pub const PREFETCHABLE: u32 = 0x8;
    /// The smallest size of a memory range, in bytes.
    pub const LEAST: u64 = 16;
}

/// Capabilities (PCI appendix H).
pub mod capability {
    /// Its maker's own.
    pub const VENDOR: u8 = 0x09;
    /// MSI-X.
    pub const MSIX: u8 = 0x11;
}

/// MSI-X (PCI 6.8.2).
pub mod msix {
    /// Message control: all vectors are masked.
    pub const FUNCTION_MASK: u16 = 1 << 14;
    /// Message control: MSI-X is in use.
    pub const ENABLE: u16 = 1 << 15;
    /// Vector control: the vector is masked.
    pub const VECTOR_MASK: u32 = 1;
    /// Bytes of an entry of the table.
    pub const ENTRY: u64 = 16;
    /// The most entries.
    pub const MAX: usize = 2048;
}

/// Class codes (PCI appendix D): class, subclass, interface.
pub mod class {
    /// A host bridge.
    pub const HOST_BRIDGE: [u8; 3] = [0x06, 0x00, 0x00];
    /// An ISA bridge.
    pub const ISA_BRIDGE: [u8; 3] = [0x06, 0x01, 0x00];
}

/// Configuration mechanism 1 (PCI 3.2.2.3.2).
pub mod mechanism_1 {
    /// CONFIG_ADDRESS, 4 bytes.
    pub const ADDRESS: u16 = 0xcf8;
    /// CONFIG_DATA, 4 bytes.
    pub const DATA: u16 = 0xcfc;
    /// CONFIG_ADDRESS: accesses of CONFIG_DATA go to a function.
    pub const ENABLE: u32 = 1 << 31;
    /// CONFIG_ADDRESS: bits that are not reserved.
    pub const USED: u32 = 0x80ff_fffc;
}

/// ECAM (PCIe 7.2.2): bytes of one bus.
pub const ECAM_BUS: u64 = 1 << 20;

/// Intel's Q35: the host bridge 82Q35 (data sheet 316966, "Q35"), and the ISA bridge of its partner, the ICH9 (data sheet
/// 316972, "ICH9").
pub mod q35 {
    /// Intel.
    pub const VENDOR: u16 = 0x8086;
    /// The host bridge (Q35 5.1.2).
    pub const HOST_BRIDGE: u16 = 0x29c0;
    /// The ISA bridge, "LPC" (ICH9 13.1.2).
    pub const ISA_BRIDGE: u16 = 0x2918;
    /// The device of the ISA bridge.
    pub const ISA_DEVICE: u8 = 0x1f;

    /// PCIEXBAR of the host bridge, 8 bytes: where the configuration spaces are in memory (Q35 5.1.17).
    pub const ECAM: usize = 0x60;
    /// Its bits that are not reserved.
    pub const ECAM_USED: u64 = 0x0000_000f_fc00_0007;
    /// They are there.
    pub const ECAM_ENABLE: u64 = 1;
    /// How many buses: 256, 128, 64, and a reserved value.
    pub const ECAM_LENGTH: u64 = 0b110;

    /// PMBASE of the ISA bridge, 4 bytes: the ports of power management (ICH9 13.1.9). Here it does not move.
    pub const PM_BASE: usize = 0x40;
    /// ACPI_CNTL, 1 byte: they are there (ICH9 13.1.10).
    pub const ACPI_CONTROL: usize = 0x44;
    /// ACPI_CNTL: they are there.
    pub const ACPI_ENABLE: u8 = 1 << 7;
    /// PIRQA_ROUT to PIRQD_ROUT, and E to H, 4 bytes each (ICH9 13.1.13, 13.1.15): nothing uses them.
    pub const INTERRUPT_ROUTES: [usize; 2] = [0x60, 0x68];
    /// An interrupt is not routed.
    pub const NOT_ROUTED: u8 = 1 << 7;
    /// RCBA, 4 bytes: where more registers are in memory (ICH9 13.1.36). There are none.
    pub const ROOT_COMPLEX: usize = 0xf0;
}
