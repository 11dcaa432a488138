//! Constants of the persistent memory device (virtio 1.2, section 5.19).

/// Its only queue (5.19.2).
pub(super) const REQUESTS: u16 = 0;
/// Bytes of the configuration: where the memory begins and its size, le64 each (5.19.4).
pub(super) const CONFIG_SIZE: usize = 16;
/// The only request: what was written is to be on the disk (5.19.6).
pub(super) const REQ_TYPE_FLUSH: u32 = 0;
/// Answer: it is (5.19.6).
pub(super) const RESP_OK: u32 = 0;
/// Answer: it is not. The section has no more than "not 0"; drivers make an I/O error of it.
pub(super) const RESP_EIO: u32 = 1;
