//! Constants of virtio 1.2 that every device and transport shares. Those of one device are in its
//! own `spec`.

use virtio_bindings::{virtio_config as config, virtio_mmio as mmio_bindings, virtio_ring as ring};

pub mod pci;

/// Device status bits (section 2.1).
pub mod status {
    use super::config;

    /// The guest has noticed the device.
    pub const ACKNOWLEDGE: u8 = config::VIRTIO_CONFIG_S_ACKNOWLEDGE as u8;
    /// The guest has a driver for it.
    pub const DRIVER: u8 = config::VIRTIO_CONFIG_S_DRIVER as u8;
    /// The driver is set up and may use the queues.
    pub const DRIVER_OK: u8 = config::VIRTIO_CONFIG_S_DRIVER_OK as u8;
    /// The driver has said which features it takes.
    pub const FEATURES_OK: u8 = config::VIRTIO_CONFIG_S_FEATURES_OK as u8;
    /// The device cannot go on; only a reset helps.
    pub const DEVICE_NEEDS_RESET: u8 = config::VIRTIO_CONFIG_S_NEEDS_RESET as u8;
    /// The driver has given up.
    pub const FAILED: u8 = config::VIRTIO_CONFIG_S_FAILED as u8;
}

/// Feature bits that are not a device's own (section 6).
pub mod feature {
    use super::{config, ring};

    /// The bits that belong to the kind of device (2.2): 0 to 23, and 50 to 63.
    pub const DEVICE: u64 = ((1 << 24) - 1) | (u64::MAX << 50);
    /// Descriptors may name a table of descriptors (2.7.5.3).
    pub const INDIRECT_DESC: u64 = 1 << ring::VIRTIO_RING_F_INDIRECT_DESC;
    /// Each side says at which index it wants to be notified (2.7.7, 2.7.10).
    pub const EVENT_IDX: u64 = 1 << ring::VIRTIO_RING_F_EVENT_IDX;
    /// The device follows virtio 1.0 or later.
    pub const VERSION_1: u64 = 1 << config::VIRTIO_F_VERSION_1;
    /// The device can only reach memory that the platform says (6.1).
    pub const ACCESS_PLATFORM: u64 = 1 << config::VIRTIO_F_ACCESS_PLATFORM;
    /// Packed virtqueues (2.8).
    pub const RING_PACKED: u64 = 1 << config::VIRTIO_F_RING_PACKED;
    /// A queue can be reset on its own (2.6.1).
    pub const RING_RESET: u64 = 1 << config::VIRTIO_F_RING_RESET;
}

/// The split virtqueue (section 2.7).
pub mod split {
    use super::ring;

    /// The buffer goes on in the descriptor `next` (2.7.5).
    pub const DESC_F_NEXT: u16 = ring::VRING_DESC_F_NEXT as u16;
    /// The device writes to the buffer (2.7.5).
    pub const DESC_F_WRITE: u16 = ring::VRING_DESC_F_WRITE as u16;
    /// The buffer holds a table of descriptors (2.7.5.3).
    pub const DESC_F_INDIRECT: u16 = ring::VRING_DESC_F_INDIRECT as u16;
    /// The driver wants no interrupt (2.7.7); only without EVENT_IDX.
    pub const AVAIL_F_NO_INTERRUPT: u16 = ring::VRING_AVAIL_F_NO_INTERRUPT as u16;
    /// The most entries of a queue (2.7).
    pub const MAX_SIZE: u16 = 32768;
    /// The offset of the index in the available and in the used ring (2.7.6, 2.7.8).
    pub const RING_INDEX: usize = 2;
    /// Bytes of a descriptor (2.7.5).
    pub const DESC_SIZE: usize = 16;
    /// Alignments of the three parts (2.7).
    pub const DESC_ALIGN: u64 = ring::VRING_DESC_ALIGN_SIZE as u64;
    /// See [`DESC_ALIGN`].
    pub const AVAIL_ALIGN: u64 = ring::VRING_AVAIL_ALIGN_SIZE as u64;
    /// See [`DESC_ALIGN`].
    pub const USED_ALIGN: u64 = ring::VRING_USED_ALIGN_SIZE as u64;
}

/// The packed virtqueue (section 2.8). Flags of descriptors that are not here are those of
/// [`split`].
pub mod packed {
    use super::ring;

    /// Marks a descriptor available, where it is as the driver's wrap counter (2.8.1).
    pub const DESC_F_AVAIL: u16 = 1 << ring::VRING_PACKED_DESC_F_AVAIL;
    /// Marks a descriptor used, where it is as the device's wrap counter (2.8.1).
    pub const DESC_F_USED: u16 = 1 << ring::VRING_PACKED_DESC_F_USED;
    /// The offset of the length in a descriptor (2.8.13).
    pub const LENGTH: usize = 8;
    /// The offset of the buffer ID in a descriptor.
    pub const ID: usize = 12;
    /// The offset of the flags in a descriptor.
    pub const FLAGS: usize = 14;
    /// The flags of an event suppression structure (2.8.14).
    pub const EVENT_FLAGS: u16 = 3;
    /// No events are wanted.
    pub const EVENT_DISABLE: u16 = ring::VRING_PACKED_EVENT_FLAG_DISABLE as u16;
    /// An event is wanted at one place of the ring; only with EVENT_IDX.
    pub const EVENT_DESC: u16 = ring::VRING_PACKED_EVENT_FLAG_DESC as u16;
    /// The slot in a place of the ring.
    pub const EVENT_OFFSET: u16 = 0x7fff;
    /// The wrap counter in a place of the ring.
    pub const EVENT_WRAP: u16 = 1 << ring::VRING_PACKED_EVENT_F_WRAP_CTR;
    /// Bytes of an event suppression structure.
    pub const EVENT_SIZE: usize = 4;
    /// Its alignment (2.8).
    pub const EVENT_ALIGN: u64 = 4;
}

/// The registers of the MMIO transport (section 4.2.2), offsets from its base.
pub mod mmio {
    use super::mmio_bindings as bindings;

    /// "virt".
    pub const MAGIC_VALUE: u64 = bindings::VIRTIO_MMIO_MAGIC_VALUE as u64;
    /// The value of MAGIC_VALUE.
    pub const MAGIC: u32 = 0x7472_6976;
    /// The version of the registers.
    pub const VERSION: u64 = bindings::VIRTIO_MMIO_VERSION as u64;
    /// The value of VERSION.
    pub const VERSION_2: u32 = 2;
    /// The device's kind.
    pub const DEVICE_ID: u64 = bindings::VIRTIO_MMIO_DEVICE_ID as u64;
    /// Vendor ID.
    pub const VENDOR_ID: u64 = bindings::VIRTIO_MMIO_VENDOR_ID as u64;
    /// The value of VENDOR_ID: "VMMK".
    pub const VENDOR: u32 = u32::from_le_bytes(*b"VMMK");
    /// 32 of the features that the device offers.
    pub const DEVICE_FEATURES: u64 = bindings::VIRTIO_MMIO_DEVICE_FEATURES as u64;
    /// Which 32.
    pub const DEVICE_FEATURES_SEL: u64 = bindings::VIRTIO_MMIO_DEVICE_FEATURES_SEL as u64;
    /// 32 of the features that the driver takes.
    pub const DRIVER_FEATURES: u64 = bindings::VIRTIO_MMIO_DRIVER_FEATURES as u64;
    /// Which 32.
    pub const DRIVER_FEATURES_SEL: u64 = bindings::VIRTIO_MMIO_DRIVER_FEATURES_SEL as u64;
    /// Which queue the queue's registers are of.
    pub const QUEUE_SEL: u64 = bindings::VIRTIO_MMIO_QUEUE_SEL as u64;
    /// The most entries it may have; 0 for no queue.
    pub const QUEUE_SIZE_MAX: u64 = bindings::VIRTIO_MMIO_QUEUE_NUM_MAX as u64;
    /// How many it has.
    pub const QUEUE_SIZE: u64 = bindings::VIRTIO_MMIO_QUEUE_NUM as u64;
    /// Whether it may be used.
    pub const QUEUE_READY: u64 = bindings::VIRTIO_MMIO_QUEUE_READY as u64;
    /// A kick of the queue whose number is written.
    pub const QUEUE_NOTIFY: u64 = bindings::VIRTIO_MMIO_QUEUE_NOTIFY as u64;
    /// Why there was an interrupt.
    pub const INTERRUPT_STATUS: u64 = bindings::VIRTIO_MMIO_INTERRUPT_STATUS as u64;
    /// The part of that which has been dealt with.
    pub const INTERRUPT_ACK: u64 = bindings::VIRTIO_MMIO_INTERRUPT_ACK as u64;
    /// The device status.
    pub const STATUS: u64 = bindings::VIRTIO_MMIO_STATUS as u64;
    /// Address of the descriptors.
    pub const QUEUE_DESC_LOW: u64 = bindings::VIRTIO_MMIO_QUEUE_DESC_LOW as u64;
    /// Its upper half.
    pub const QUEUE_DESC_HIGH: u64 = bindings::VIRTIO_MMIO_QUEUE_DESC_HIGH as u64;
    /// Address of the driver area, the available ring.
    pub const QUEUE_DRIVER_LOW: u64 = bindings::VIRTIO_MMIO_QUEUE_AVAIL_LOW as u64;
    /// Its upper half.
    pub const QUEUE_DRIVER_HIGH: u64 = bindings::VIRTIO_MMIO_QUEUE_AVAIL_HIGH as u64;
    /// Address of the device area, the used ring.
    pub const QUEUE_DEVICE_LOW: u64 = bindings::VIRTIO_MMIO_QUEUE_USED_LOW as u64;
    /// Its upper half.
    pub const QUEUE_DEVICE_HIGH: u64 = bindings::VIRTIO_MMIO_QUEUE_USED_HIGH as u64;
    /// Which shared memory region the next four are of.
    pub const SHM_SEL: u64 = bindings::VIRTIO_MMIO_SHM_SEL as u64;
    /// Its length; all ones where there is none.
    pub const SHM_LEN_LOW: u64 = bindings::VIRTIO_MMIO_SHM_LEN_LOW as u64;
    /// The last of the four.
    pub const SHM_BASE_HIGH: u64 = bindings::VIRTIO_MMIO_SHM_BASE_HIGH as u64;
    /// Resets the queue.
    pub const QUEUE_RESET: u64 = 0x0c0;
    /// Changes with the configuration.
    pub const CONFIG_GENERATION: u64 = bindings::VIRTIO_MMIO_CONFIG_GENERATION as u64;
    /// The device's configuration begins here.
    pub const CONFIG: u64 = bindings::VIRTIO_MMIO_CONFIG as u64;
    /// Interrupt: a buffer was used.
    pub const INT_VRING: u32 = bindings::VIRTIO_MMIO_INT_VRING;
    /// Interrupt: the configuration changed.
    pub const INT_CONFIG: u32 = bindings::VIRTIO_MMIO_INT_CONFIG;
    /// Bytes of registers that a device takes, the configuration with them.
    pub const LENGTH: u64 = 0x1000;
}
