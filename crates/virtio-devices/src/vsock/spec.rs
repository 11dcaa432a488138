//! Constants of the socket device (section 5.10).

/// Packets to the driver (5.10.2).
pub(super) const RX: u16 = 0;
/// Packets from the driver (5.10.2).
pub(super) const TX: u16 = 1;
/// Events for the driver (5.10.2).
pub(super) const EVENT: u16 = 2;

/// VIRTIO_VSOCK_F_STREAM: stream sockets are supported (5.10.3).
pub(super) const F_STREAM: u64 = 1 << 0;

/// The lowest CID that a guest may have; those below are reserved (5.10.4).
pub(super) const MIN_GUEST_CID: u64 = 3;
/// The highest; 0xffff_ffff is reserved, and the upper 32 bits are zero (5.10.4).
pub(super) const MAX_GUEST_CID: u64 = 0xffff_fffe;
/// The host's CID (5.10.4).
pub(super) const HOST_CID: u64 = 2;

/// Bytes of a packet's header (5.10.6).
pub(super) const HEADER_SIZE: usize = 44;
/// VIRTIO_VSOCK_TYPE_STREAM (5.10.6).
pub(super) const TYPE_STREAM: u16 = 1;

/// The operation of a packet (5.10.6).
pub(super) mod op {
    /// VIRTIO_VSOCK_OP_REQUEST: asks for a connection.
    pub(in super::super) const REQUEST: u16 = 1;
    /// VIRTIO_VSOCK_OP_RESPONSE: grants it.
    pub(in super::super) const RESPONSE: u16 = 2;
    /// VIRTIO_VSOCK_OP_RST: there is no connection, or no more.
    pub(in super::super) const RST: u16 = 3;
    /// VIRTIO_VSOCK_OP_SHUTDOWN: the sender will not send, or not receive, any more.
    pub(in super::super) const SHUTDOWN: u16 = 4;
    /// VIRTIO_VSOCK_OP_RW: data.
    pub(in super::super) const RW: u16 = 5;
    /// VIRTIO_VSOCK_OP_CREDIT_UPDATE: the sender's room for data.
    pub(in super::super) const CREDIT_UPDATE: u16 = 6;
    /// VIRTIO_VSOCK_OP_CREDIT_REQUEST: asks for that.
    pub(in super::super) const CREDIT_REQUEST: u16 = 7;
}

/// VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE: the sender will receive no more data (5.10.6.5).
pub(super) const SHUTDOWN_RECEIVE: u32 = 1 << 0;
/// VIRTIO_VSOCK_SHUTDOWN_F_SEND: the sender will send no more data (5.10.6.5).
pub(super) const SHUTDOWN_SEND: u32 = 1 << 1;
/// Both.
pub(super) const SHUTDOWN_BOTH: u32 = SHUTDOWN_RECEIVE | SHUTDOWN_SEND;

/// VIRTIO_VSOCK_EVENT_TRANSPORT_RESET: every connection is gone, and the CID may be another
/// (5.10.6.7).
pub(super) const EVENT_TRANSPORT_RESET: u32 = 0;
