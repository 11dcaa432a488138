//! What kinds of devices there are (section 5).

use std::fmt;

macro_rules! kinds {
    ($($name:ident = $id:literal, $text:literal, $option:literal;)*) => {
        /// A kind of device (virtio 1.2, section 5).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum DeviceKind {
            $(#[doc = concat!("Device ID ", $id, ".")] $name,)*
        }

        impl DeviceKind {
            /// The device ID.
            pub const fn id(self) -> u32 {
                match self { $(Self::$name => $id,)* }
            }

            /// A short name, for messages and threads: `blk`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What a Linux kernel must be configured with to have its driver.
            pub const fn kernel_option(self) -> &'static str {
                match self { $(Self::$name => $option,)* }
            }
        }
    };
}

kinds! {
    Network = 1, "net", "CONFIG_VIRTIO_NET";
    Block = 2, "blk", "CONFIG_VIRTIO_BLK";
    Console = 3, "console", "CONFIG_VIRTIO_CONSOLE";
    Entropy = 4, "rng", "CONFIG_HW_RANDOM_VIRTIO";
    Balloon = 5, "balloon", "CONFIG_VIRTIO_BALLOON";
    Socket = 19, "vsock", "CONFIG_VIRTIO_VSOCKETS";
    Memory = 24, "mem", "CONFIG_VIRTIO_MEM";
    FileSystem = 26, "fs", "CONFIG_VIRTIO_FS";
    PersistentMemory = 27, "pmem", "CONFIG_VIRTIO_PMEM";
}

impl DeviceKind {
    /// What a device is called beside `others`: `blk0`.
    pub fn name_beside(self, others: impl Iterator<Item = Self>) -> String {
        format!("{}{}", self.name(), others.filter(|it| *it == self).count())
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "virtio-{}", self.name())
    }
}
