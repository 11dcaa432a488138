//! Registers of the I/O APIC (Intel 82093AA data sheet, order number 290566, section 3), and the
//! message that an entry stands for (Intel SDM volume 3A, 11.11).

/// Where a PC has its registers (3.0).
pub const ADDRESS: u64 = 0xfec0_0000;
/// The page that they are in.
pub const LENGTH: u64 = 0x1000;
/// The number of pins (1.0).
pub const PINS: u32 = 24;

/// IOREGSEL: the register that the window shows (3.1.1).
pub const SELECT: u64 = 0x00;
/// IOWIN: the window (3.1.2).
pub const WINDOW: u64 = 0x10;

/// IOAPICID (3.2.1).
pub const ID: u8 = 0x00;
/// Its bits that can be written.
pub const ID_MASK: u32 = 0x0f00_0000;
/// IOAPICVER (3.2.2).
pub const VERSION: u8 = 0x01;
/// Its value: version 0x11, and the number of the last entry.
pub const VERSION_VALUE: u32 = 0x11 | (PINS - 1) << 16;
/// IOAPICARB (3.2.3), which is the ID here.
pub const ARBITRATION: u8 = 0x02;
/// IOREDTBL: the first entry's low half; the high half follows, then the next entry (3.2.4).
pub const TABLE: u8 = 0x10;

/// The vector.
pub const VECTOR: u64 = 0xff;
/// Delivery mode, bits 10:8.
pub const DELIVERY_MODE: u64 = 7 << 8;
/// Destination mode: logical.
pub const LOGICAL: u64 = 1 << 11;
/// Delivery status: always idle here.
pub const DELIVERY_STATUS: u64 = 1 << 12;
/// Polarity: active low.
pub const ACTIVE_LOW: u64 = 1 << 13;
/// Remote IRR: a local APIC has the level-triggered interrupt and has not ended it.
pub const REMOTE_IRR: u64 = 1 << 14;
/// Trigger mode: level.
pub const LEVEL: u64 = 1 << 15;
/// The pin is not heard.
pub const MASKED: u64 = 1 << 16;
/// Destination, bits 63:56.
pub const DESTINATION_SHIFT: u32 = 56;
/// The bits of an entry that the guest may write.
pub const WRITABLE: u64 =
    VECTOR | DELIVERY_MODE | LOGICAL | ACTIVE_LOW | LEVEL | MASKED | 0xff << DESTINATION_SHIFT;

/// The address of a message to local APIC 0 (SDM 11.11.1).
pub const MESSAGE_ADDRESS: u64 = 0xfee0_0000;
/// Where the destination is in it.
pub const MESSAGE_DESTINATION_SHIFT: u32 = 12;
/// Destination mode in it: logical.
pub const MESSAGE_LOGICAL: u64 = 1 << 2;
/// Level, assert, in the data (SDM 11.11.2).
pub const MESSAGE_ASSERT: u32 = 1 << 14;
/// Trigger mode, level, in the data.
pub const MESSAGE_LEVEL: u32 = 1 << 15;
