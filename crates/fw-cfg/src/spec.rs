//! Numbers of the interface (QEMU, docs/specs/fw_cfg.rst).

/// The selector, 16 bits, write only.
pub const SELECTOR: u16 = 0x510;
/// The data, 8 bits.
pub const DATA: u16 = 0x511;
/// The address of a DMA request: its high 32 bits, then its low 32 bits, each big-endian.
pub const DMA: u16 = 0x514;
/// The ports from [`SELECTOR`] on.
pub const PORTS: u16 = 12;

/// The item "QEMU", by which firmware knows that there is such a device.
pub const SIGNATURE_ITEM: u16 = 0x00;
/// The contents of [`SIGNATURE_ITEM`].
pub const SIGNATURE: &[u8; 4] = b"QEMU";
/// The item with the revision, 32 bits, little-endian.
pub const ID_ITEM: u16 = 0x01;
/// The bits of [`ID_ITEM`]: selector and data, and DMA.
pub const ID: u32 = 1 << 0 | 1 << 1;
/// The item with the number of vCPUs, 16 bits, little-endian.
pub const CPUS_ITEM: u16 = 0x05;
/// The item with the highest APIC ID plus 1, 16 bits, little-endian.
pub const MAX_CPUS_ITEM: u16 = 0x0f;
/// The item with the directory of files.
pub const DIRECTORY_ITEM: u16 = 0x19;
/// The item of the first file.
pub const FIRST_FILE: u16 = 0x20;
/// The number of items of files that QEMU has for firmware to expect.
pub const MAX_FILES: usize = 0x1000;
/// The bits of a selector that name an item; those above choose a writable or an architecture's own one.
pub const ITEM_MASK: u16 = 0x3fff;

/// A name's bytes in the directory, its NUL among them.
pub const NAME_SIZE: usize = 56;
/// Bytes of a directory entry: size, item, 2 reserved, name.
pub const ENTRY_SIZE: usize = 8 + NAME_SIZE;

/// The contents of the DMA address when it is read, big-endian.
pub const DMA_SIGNATURE: &[u8; 8] = b"QEMU CFG";
/// Bytes of a DMA request: control, length, address, all big-endian.
pub const REQUEST_SIZE: usize = 16;
/// Control: set by the device, the request failed.
pub const CONTROL_ERROR: u32 = 1 << 0;
/// Control: copy from the item to memory.
pub const CONTROL_READ: u32 = 1 << 1;
/// Control: go on in the item without a copy.
pub const CONTROL_SKIP: u32 = 1 << 2;
/// Control: select the item in the high 16 bits first.
pub const CONTROL_SELECT: u32 = 1 << 3;
/// Control: copy from memory to the item.
pub const CONTROL_WRITE: u32 = 1 << 4;
