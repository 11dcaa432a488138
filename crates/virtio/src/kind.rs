//! Kinds of devices (virtio 1.2, section 5).

use std::fmt;

use crate::spec::pci;

/// A kind of device: its device ID (virtio 1.2, section 5), and how it is called and shown to a guest.
///
/// The constants are the kinds that `vmmkit-virtio-devices` has devices of; [`new`](Self::new) makes any
/// other.
///
/// ```
/// use vmmkit_virtio::DeviceKind;
///
/// const SOUND: DeviceKind = DeviceKind::new(25, "snd")
///     .with_driver("CONFIG_SND_VIRTIO")
///     .with_pci_class([0x04, 0x01, 0x00]);
/// assert_eq!(SOUND.to_string(), "virtio-snd");
/// assert_ne!(SOUND, DeviceKind::BLOCK);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceKind {
    id: u16,
    name: &'static str,
    driver: Option<&'static str>,
    pci_class: [u8; 3],
}

/// Class, subclass and programming interface of a device that fits no other class (PCI 3.0,
/// appendix D).
const UNCLASSIFIED: [u8; 3] = [0x00, 0xff, 0x00];
const COMMUNICATION: [u8; 3] = [0x07, 0x80, 0x00];

impl DeviceKind {
    /// Section 5.1.
    pub const NETWORK: Self = Self::new(1, "net")
        .with_driver("CONFIG_VIRTIO_NET")
        .with_pci_class([0x02, 0x00, 0x00]);
    /// Section 5.2.
    pub const BLOCK: Self = Self::new(2, "blk")
        .with_driver("CONFIG_VIRTIO_BLK")
        .with_pci_class([0x01, 0x00, 0x00]);
    /// Section 5.3.
    pub const CONSOLE: Self = Self::new(3, "console")
        .with_driver("CONFIG_VIRTIO_CONSOLE")
        .with_pci_class(COMMUNICATION);
    /// Section 5.4.
    pub const ENTROPY: Self = Self::new(4, "rng").with_driver("CONFIG_HW_RANDOM_VIRTIO");
    /// Section 5.5.
    pub const BALLOON: Self = Self::new(5, "balloon").with_driver("CONFIG_VIRTIO_BALLOON");
    /// Section 5.10.
    pub const SOCKET: Self = Self::new(19, "vsock")
        .with_driver("CONFIG_VIRTIO_VSOCKETS")
        .with_pci_class(COMMUNICATION);
    /// Section 5.15.
    pub const MEMORY: Self = Self::new(24, "mem").with_driver("CONFIG_VIRTIO_MEM");
    /// Section 5.11.
    pub const FILE_SYSTEM: Self = Self::new(26, "fs")
        .with_driver("CONFIG_VIRTIO_FS")
        .with_pci_class([0x01, 0x80, 0x00]);
    /// Section 5.19.
    pub const PERSISTENT_MEMORY: Self = Self::new(27, "pmem").with_driver("CONFIG_VIRTIO_PMEM");

    /// The kind with the device ID `id`; `name` is short, lower case and without spaces: devices, their
    /// threads and counters are called after it.
    ///
    /// Drivers look for IDs of 1 to 63: the PCI device IDs of virtio are 0x1040 to 0x107f (section
    /// 4.1.2), and no device has ID 0 (section 5).
    pub const fn new(id: u16, name: &'static str) -> Self {
        Self {
            id,
            name,
            driver: None,
            pci_class: UNCLASSIFIED,
        }
    }

    /// Says which option a Linux kernel is configured with to have its driver.
    #[must_use]
    pub const fn with_driver(self, option: &'static str) -> Self {
        Self {
            driver: Some(option),
            ..self
        }
    }

    /// Class, subclass and programming interface as a PCI function (PCI 3.0, appendix D), where they
    /// are not those of an unclassified device.
    #[must_use]
    pub const fn with_pci_class(self, class: [u8; 3]) -> Self {
        Self {
            pci_class: class,
            ..self
        }
    }

    /// The device ID.
    pub const fn id(self) -> u32 {
        self.id as u32
    }

    /// A short name, for messages and threads: `blk`.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The option that a Linux kernel is configured with to have its driver, where it is known.
    pub const fn kernel_option(self) -> Option<&'static str> {
        self.driver
    }

    /// The device ID as a PCI function: 0x1040 and the device ID (section 4.1.2).
    pub(crate) const fn pci_device(self) -> u16 {
        pci::DEVICE_BASE.saturating_add(self.id)
    }

    /// Class, subclass and programming interface.
    pub(crate) const fn pci_class(self) -> [u8; 3] {
        self.pci_class
    }

    /// The name of a device beside `others`: `blk0`.
    pub fn name_beside(self, others: impl Iterator<Item = Self>) -> String {
        format!("{}{}", self.name, others.filter(|it| *it == self).count())
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "virtio-{}", self.name)
    }
}
