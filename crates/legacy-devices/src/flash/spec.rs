//! Numbers of flash chips with Intel's command set (JEDEC CFI, JESD68.01 and JEP137; Intel, "Common Flash Memory
//! Interface and Command Sets", application note 646), as QEMU's `pflash_cfi01` has them.

/// The bytes of a block: what is erased at once. EDK II's builds of 4 MiB expect this size.
pub const BLOCK: u64 = 4096;

/// Commands.
pub mod command {
    /// The next write programs the cells.
    pub const PROGRAM: u8 = 0x10;
    /// Likewise: an alternate code.
    pub const PROGRAM_ALTERNATE: u8 = 0x40;
    /// The next write, if it is [`CONFIRM`], erases the block that it is in.
    pub const ERASE: u8 = 0x20;
    /// Confirms.
    pub const CONFIRM: u8 = 0xd0;
    /// Clears the status register.
    pub const CLEAR_STATUS: u8 = 0x50;
    /// Reads return the status register.
    pub const READ_STATUS: u8 = 0x70;
    /// Reads return the chip's identity.
    pub const READ_ID: u8 = 0x90;
    /// Reads return what the chip holds.
    pub const READ_ARRAY: u8 = 0xff;
}

/// Bits of the status register.
pub mod status {
    /// The chip is ready. It is 0 after a power-on and [`CLEAR_STATUS`](super::command::CLEAR_STATUS), as EDK II
    /// expects of a flash chip, until the first operation.
    pub const READY: u8 = 1 << 7;
    /// A block was not erased.
    pub const ERASE_ERROR: u8 = 1 << 5;
    /// Cells were not programmed.
    pub const PROGRAM_ERROR: u8 = 1 << 4;
    /// The bits that there are.
    pub const ALL: u8 = READY | ERASE_ERROR | PROGRAM_ERROR;
}

/// Intel's number as a maker of chips (JEP106).
pub const MAKER: u8 = 0x89;
/// The chip's number.
pub const DEVICE: u8 = 0x18;
