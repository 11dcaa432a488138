//! Numbers of the vhost-user protocol (QEMU, docs/interop/vhost-user.rst), by its sections, and the
//! few of virtio 1.2 that are needed to know what passes through.

/// A request of the front end, by its number and name ("Front-end message types").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request(pub(super) u32, pub(super) &'static str);

pub(super) const GET_FEATURES: Request = Request(1, "GET_FEATURES");
pub(super) const SET_FEATURES: Request = Request(2, "SET_FEATURES");
pub(super) const SET_OWNER: Request = Request(3, "SET_OWNER");
pub(super) const SET_MEM_TABLE: Request = Request(5, "SET_MEM_TABLE");
pub(super) const SET_VRING_NUM: Request = Request(8, "SET_VRING_NUM");
pub(super) const SET_VRING_ADDR: Request = Request(9, "SET_VRING_ADDR");
pub(super) const SET_VRING_BASE: Request = Request(10, "SET_VRING_BASE");
pub(super) const GET_VRING_BASE: Request = Request(11, "GET_VRING_BASE");
pub(super) const SET_VRING_KICK: Request = Request(12, "SET_VRING_KICK");
pub(super) const SET_VRING_CALL: Request = Request(13, "SET_VRING_CALL");
pub(super) const SET_VRING_ERR: Request = Request(14, "SET_VRING_ERR");
pub(super) const GET_PROTOCOL_FEATURES: Request = Request(15, "GET_PROTOCOL_FEATURES");
pub(super) const SET_PROTOCOL_FEATURES: Request = Request(16, "SET_PROTOCOL_FEATURES");
pub(super) const GET_QUEUE_NUM: Request = Request(17, "GET_QUEUE_NUM");
pub(super) const SET_VRING_ENABLE: Request = Request(18, "SET_VRING_ENABLE");
pub(super) const SET_BACKEND_REQ_FD: Request = Request(21, "SET_BACKEND_REQ_FD");
pub(super) const GET_CONFIG: Request = Request(24, "GET_CONFIG");
pub(super) const SET_CONFIG: Request = Request(25, "SET_CONFIG");

/// A request of the back end ("Back-end message types"): the configuration has changed.
pub(super) const BACKEND_CONFIG_CHANGE_MSG: u32 = 2;

/// Flags of a message ("Header"): the version, in two bits.
pub(super) const VERSION: u32 = 1;
/// See [`VERSION`].
pub(super) const VERSION_MASK: u32 = 3;
/// It is an answer.
pub(super) const REPLY: u32 = 1 << 2;
/// It wants an answer though it is of a kind that has none ("VHOST_USER_PROTOCOL_F_REPLY_ACK").
pub(super) const NEED_REPLY: u32 = 1 << 3;

/// A bit among the features of the device that says that there are protocol features, of which the
/// device knows nothing ("Communication").
pub(super) const F_PROTOCOL_FEATURES: u64 = 1 << 30;

/// Protocol features ("Protocol features").
pub(super) mod protocol {
    /// The back end says how many queues it has.
    pub(crate) const MQ: u64 = 1 << 0;
    /// Any request is answered if that is wanted.
    pub(crate) const REPLY_ACK: u64 = 1 << 3;
    /// The back end may send requests.
    pub(crate) const BACKEND_REQ: u64 = 1 << 5;
    /// The back end has the configuration space.
    pub(crate) const CONFIG: u64 = 1 << 9;
}

/// virtio-fs (virtio 1.2, section 5.11).
pub(super) mod fs {
    /// F_NOTIFICATION (5.11.3) would bring one more queue, which no back end has.
    pub(crate) const FEATURES: u64 = 0;
    /// Bytes of the tag, filled up with zeroes (5.11.4).
    pub(crate) const TAG_BYTES: usize = 36;
    /// Queues before the request queues (5.11.2): hiprio alone, without F_NOTIFICATION.
    pub(crate) const OTHER_QUEUES: u16 = 1;
}

/// virtio-blk (virtio 1.2, section 5.2).
pub(super) mod blk {
    /// Features that are the back end's matter alone (5.2.3): SIZE_MAX, SEG_MAX, GEOMETRY, RO,
    /// BLK_SIZE, FLUSH, TOPOLOGY, CONFIG_WCE, MQ, DISCARD, WRITE_ZEROES.
    pub(crate) const FEATURES: u64 =
        1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | F_MQ | 3 << 13;
    /// There are several queues, as many as the configuration says (5.2.3).
    pub(crate) const F_MQ: u64 = 1 << 12;
    /// Bytes of the configuration (5.2.4) up to `write_zeroes_may_unmap` and its padding; what
    /// follows belongs to features that are not in [`FEATURES`], and not every back end has it.
    pub(crate) const CONFIG_BYTES: usize = 60;
    /// Where `writeback` is, the only field that a driver may write (5.2.4).
    pub(crate) const WRITEBACK: usize = 32;
    /// Where `num_queues` is (5.2.4).
    pub(crate) const NUM_QUEUES: usize = 34;
}

/// virtio-net (virtio 1.2, section 5.1).
pub(super) mod net {
    /// Features that are the back end's matter alone (5.1.3), it being one pair of queues without a
    /// control queue: CSUM, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_UFO, HOST_TSO4,
    /// HOST_TSO6, HOST_ECN, HOST_UFO, MRG_RXBUF.
    pub(crate) const FEATURES: u64 = 3 | 0x1ff << 7;
    /// The configuration begins with the address (5.1.3).
    pub(crate) const F_MAC: u64 = 1 << 5;
}
