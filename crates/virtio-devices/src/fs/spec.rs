//! Constants of the file system device (virtio 1.2, section 5.11).

/// Bytes of the tag (5.11.4).
pub(super) const TAG_BYTES: usize = 36;
/// Bytes of the configuration: the tag, and the number of request queues, le32 (5.11.4). What VIRTIO_FS_F_NOTIFICATION
/// adds is not there.
pub(super) const CONFIG_SIZE: usize = TAG_BYTES + 4;
/// Entries of the queue of requests that do not wait for others, FUSE_FORGET among them, and of the queue of requests
/// (5.11.2). The latter has room for a read of 1 MiB into single pages, which Linux makes no larger than the queue.
pub(super) const QUEUE_SIZES: [u16; 2] = [128, 1024];
