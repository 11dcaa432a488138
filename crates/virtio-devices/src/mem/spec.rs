//! Constants of the memory device (virtio 1.2, section 5.15).

/// Its only queue, guest-request (5.15.2).
pub(super) const REQUESTS: u16 = 0;

/// le64: bytes of a block (5.15.4).
pub(super) const CONFIG_BLOCK_SIZE: usize = 0;
/// le64: where the area begins (5.15.4).
pub(super) const CONFIG_ADDR: usize = 16;
/// le64: bytes of the area (5.15.4).
pub(super) const CONFIG_REGION_SIZE: usize = 24;
/// le64: bytes of it in which blocks may be plugged now (5.15.4).
pub(super) const CONFIG_USABLE_REGION_SIZE: usize = 32;
/// le64: bytes that are plugged (5.15.4).
pub(super) const CONFIG_PLUGGED_SIZE: usize = 40;
/// le64: bytes that should be plugged (5.15.4).
pub(super) const CONFIG_REQUESTED_SIZE: usize = 48;
/// Bytes of the configuration (5.15.4).
pub(super) const CONFIG_SIZE: usize = 56;

/// Bytes of a request: le16 type, 6 bytes of padding, le64 address, le16 number of blocks, 6 bytes of
/// padding (5.15.6).
pub(super) const REQUEST_SIZE: usize = 24;
/// Request: plug blocks (5.15.6).
pub(super) const REQ_PLUG: u16 = 0;
/// Request: take blocks away (5.15.6).
pub(super) const REQ_UNPLUG: u16 = 1;
/// Request: take all blocks away (5.15.6).
pub(super) const REQ_UNPLUG_ALL: u16 = 2;
/// Request: tell whether blocks are plugged (5.15.6).
pub(super) const REQ_STATE: u16 = 3;

/// Bytes of a response: le16 type, 6 bytes of padding, le16 state (5.15.6).
pub(super) const RESPONSE_SIZE: usize = 10;
/// Response: done (5.15.6).
pub(super) const RESP_ACK: u16 = 0;
/// Response: not now, as that would be more than is asked for (5.15.6).
pub(super) const RESP_NACK: u16 = 1;
/// Response: no request that can be (5.15.6).
pub(super) const RESP_ERROR: u16 = 3;

/// State: all of them are plugged (5.15.6).
pub(super) const STATE_PLUGGED: u16 = 0;
/// State: none of them is (5.15.6).
pub(super) const STATE_UNPLUGGED: u16 = 1;
/// State: some are (5.15.6).
pub(super) const STATE_MIXED: u16 = 2;
