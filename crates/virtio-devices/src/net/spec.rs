//! Constants of the network device (virtio 1.2, section 5.1).

/// Feature bits (5.1.3).
pub(super) mod feature {
    /// The device takes packets whose checksum is partial.
    pub(crate) const CSUM: u64 = 1 << 0;
    /// The driver takes packets whose checksum is partial.
    pub(crate) const GUEST_CSUM: u64 = 1 << 1;
    /// The driver may change its offloads (5.1.6.5.6).
    pub(crate) const CTRL_GUEST_OFFLOADS: u64 = 1 << 2;
    /// The configuration has `mtu`.
    pub(crate) const MTU: u64 = 1 << 3;
    /// The configuration has `mac`.
    pub(crate) const MAC: u64 = 1 << 5;
    /// The driver takes TCP segments over IPv4 of any size.
    pub(crate) const GUEST_TSO4: u64 = 1 << 7;
    /// The driver takes TCP segments over IPv6 of any size.
    pub(crate) const GUEST_TSO6: u64 = 1 << 8;
    /// The driver takes such segments with ECN.
    pub(crate) const GUEST_ECN: u64 = 1 << 9;
    /// The device takes TCP segments over IPv4 of any size.
    pub(crate) const HOST_TSO4: u64 = 1 << 11;
    /// The device takes TCP segments over IPv6 of any size.
    pub(crate) const HOST_TSO6: u64 = 1 << 12;
    /// The device takes such segments with ECN.
    pub(crate) const HOST_ECN: u64 = 1 << 13;
    /// A packet may lie in several chains of a receive queue.
    pub(crate) const MRG_RXBUF: u64 = 1 << 15;
    /// The configuration has `status`.
    pub(crate) const STATUS: u64 = 1 << 16;
    /// There is a control queue.
    pub(crate) const CTRL_VQ: u64 = 1 << 17;
    /// There are several pairs of queues.
    pub(crate) const MQ: u64 = 1 << 22;

    /// Offloads that the driver can do by itself: also the bits of CTRL_GUEST_OFFLOADS (5.1.6.5.6).
    pub(crate) const GUEST_OFFLOADS: u64 = GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6 | GUEST_ECN;
    /// Offloads that the driver can leave to the device.
    pub(crate) const HOST_OFFLOADS: u64 = CSUM | HOST_TSO4 | HOST_TSO6 | HOST_ECN;
}

/// Bytes of the configuration space that there are: `mac`, `status`, `max_virtqueue_pairs`, `mtu`
/// (5.1.4).
pub(super) const CONFIG_LENGTH: usize = 12;
/// A bit of `status`: the link is up (5.1.4).
pub(super) const S_LINK_UP: u16 = 1;
/// The least that `mtu` may be (5.1.4.1).
pub(super) const MIN_MTU: u16 = 68;

/// Bytes of the header before each packet (5.1.6).
pub(super) const HEADER: usize = 12;
/// Where `flags` is in it.
pub(super) const HEADER_FLAGS: usize = 0;
/// Where `num_buffers` is in it.
pub(super) const HEADER_NUM_BUFFERS: usize = 10;
/// A bit of `flags`: the checksum is partial (5.1.6).
pub(super) const HDR_F_NEEDS_CSUM: u8 = 1;
/// `gso_type`: not a segment to be cut (5.1.6).
pub(super) const HDR_GSO_NONE: u8 = 0;
/// Bytes of the largest packet with its header: what a driver with offloads must have room for
/// (5.1.6.3.1).
pub(super) const MAX_PACKET: usize = 65_562;

/// The control queue (5.1.6.5).
pub(super) mod control {
    /// The answer to a command that was done.
    pub(crate) const OK: u8 = 0;
    /// The answer to any other.
    pub(crate) const ERR: u8 = 1;
    /// Class: several queues (5.1.6.5.5).
    pub(crate) const MQ: u8 = 4;
    /// How many pairs of queues the driver uses; 16 bits.
    pub(crate) const MQ_VQ_PAIRS_SET: u8 = 0;
    /// Class: offloads (5.1.6.5.6).
    pub(crate) const GUEST_OFFLOADS: u8 = 5;
    /// Which offloads the driver wants; 64 bits.
    pub(crate) const GUEST_OFFLOADS_SET: u8 = 0;
}
