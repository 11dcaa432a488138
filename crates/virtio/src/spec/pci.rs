//! The PCI transport (section 4.1).

/// The vendor of all virtio devices (4.1.2).
pub const VENDOR: u16 = 0x1af4;
/// The PCI device ID is this plus the device ID (4.1.2).
pub const DEVICE_BASE: u16 = 0x1040;
/// The revision of a device that is not transitional (4.1.2.1).
pub const REVISION: u8 = 1;
/// No vector (4.1.5.1.2).
pub const NO_VECTOR: u16 = 0xffff;

/// Kinds of capabilities (4.1.4).
pub mod capability {
    /// The common configuration.
    pub const COMMON: u8 = 1;
    /// Where kicks are written.
    pub const NOTIFY: u8 = 2;
    /// Why there was an interrupt.
    pub const ISR: u8 = 3;
    /// The device's configuration.
    pub const DEVICE: u8 = 4;
    /// Access to all of them through the configuration space of PCI.
    pub const PCI: u8 = 5;
}

/// The fields of a capability, from its start (4.1.4).
pub mod field {
    /// Which base address, 1 byte.
    pub const BAR: usize = 4;
    /// The offset there, 4 bytes.
    pub const OFFSET: usize = 8;
    /// The length, 4 bytes.
    pub const LENGTH: usize = 12;
    /// Kind PCI: the data that is read and written, 4 bytes (4.1.4.9). Kind NOTIFY: the multiplier
    /// of queues' offsets, 4 bytes (4.1.4.4).
    pub const DATA: usize = 16;
}

/// The common configuration (4.1.4.3), offsets from its start.
pub mod common {
    /// Which 32 features DEVICE_FEATURE shows, 4 bytes.
    pub const DEVICE_FEATURE_SELECT: u64 = 0;
    /// 32 of the features that the device offers, 4 bytes.
    pub const DEVICE_FEATURE: u64 = 4;
    /// Which 32 features DRIVER_FEATURE takes, 4 bytes.
    pub const DRIVER_FEATURE_SELECT: u64 = 8;
    /// 32 of the features that the driver takes, 4 bytes.
    pub const DRIVER_FEATURE: u64 = 12;
    /// The vector of configuration changes, 2 bytes.
    pub const CONFIG_MSIX_VECTOR: u64 = 16;
    /// The number of queues, 2 bytes.
    pub const NUM_QUEUES: u64 = 18;
    /// The device status, 1 byte.
    pub const DEVICE_STATUS: u64 = 20;
    /// Changes with the configuration, 1 byte.
    pub const CONFIG_GENERATION: u64 = 21;
    /// Which queue the fields from here on are of, 2 bytes.
    pub const QUEUE_SELECT: u64 = 22;
    /// At reset the most entries, then how many, 2 bytes; 0 for no queue.
    pub const QUEUE_SIZE: u64 = 24;
    /// The queue's vector, 2 bytes.
    pub const QUEUE_MSIX_VECTOR: u64 = 26;
    /// Whether it may be used, 2 bytes.
    pub const QUEUE_ENABLE: u64 = 28;
    /// Where its kicks are written, before multiplication, 2 bytes.
    pub const QUEUE_NOTIFY_OFF: u64 = 30;
    /// The address of the descriptors, 8 bytes.
    pub const QUEUE_DESC: u64 = 32;
    /// The address of the driver area, the available ring, 8 bytes.
    pub const QUEUE_DRIVER: u64 = 40;
    /// The address of the device area, the used ring, 8 bytes.
    pub const QUEUE_DEVICE: u64 = 48;
    /// The value to write as a kick, 2 bytes.
    pub const QUEUE_NOTIFY_DATA: u64 = 56;
    /// Resets the queue, 2 bytes.
    pub const QUEUE_RESET: u64 = 58;
    /// Bytes of all.
    pub const LENGTH: u64 = 60;
}

/// Bits of the ISR status (4.1.4.5).
pub mod isr {
    /// Buffers of a queue were used.
    pub const QUEUE: u8 = 1;
    /// The configuration changed.
    pub const CONFIG: u8 = 2;
}
