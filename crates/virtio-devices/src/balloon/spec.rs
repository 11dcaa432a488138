//! Constants of the memory balloon (virtio 1.2, section 5.5).

/// Pages to give back (5.5.2).
pub(super) const INFLATE: u16 = 0;
/// Pages that are wanted again (5.5.2).
pub(super) const DEFLATE: u16 = 1;
/// Statistics of the guest, with [`F_STATS_VQ`] (5.5.2).
pub(super) const STATS: u16 = 2;
/// The number of queues, reporting_vq with [`F_PAGE_REPORTING`] being the last, 4 (5.5.2).
pub(super) const QUEUES: usize = 5;

/// There is a queue for statistics (5.5.3).
pub(super) const F_STATS_VQ: u64 = 1 << 1;
/// The guest may take pages back when it has no other (5.5.3).
pub(super) const F_DEFLATE_ON_OOM: u64 = 1 << 2;
/// The guest says what its free pages hold (5.5.3).
pub(super) const F_PAGE_POISON: u64 = 1 << 4;
/// There is a queue for free pages (5.5.3).
pub(super) const F_PAGE_REPORTING: u64 = 1 << 5;

/// le32: pages that the balloon should have (5.5.4).
pub(super) const CONFIG_NUM_PAGES: usize = 0;
/// le32: pages that it has, by the driver (5.5.4).
pub(super) const CONFIG_ACTUAL: usize = 4;
/// le32: what free pages hold, by the driver (5.5.4).
pub(super) const CONFIG_POISON_VAL: usize = 12;
/// Bytes of the configuration (5.5.4).
pub(super) const CONFIG_SIZE: usize = 16;

/// Bytes of the pages that the balloon counts, whatever the guest's are (5.5.6).
pub(super) const PAGE: u64 = 4096;
/// Bytes of a page's number, le32 (5.5.6).
pub(super) const PFN_SIZE: usize = 4;
/// Bytes of a statistic: a tag (le16) and a value (le64) (5.5.6.3).
pub(super) const STAT_SIZE: usize = 10;

/// Tags of statistics (5.5.6.4).
pub(super) mod tag {
    pub(crate) const SWAP_IN: u16 = 0;
    pub(crate) const SWAP_OUT: u16 = 1;
    pub(crate) const MAJFLT: u16 = 2;
    pub(crate) const MINFLT: u16 = 3;
    pub(crate) const MEMFREE: u16 = 4;
    pub(crate) const MEMTOT: u16 = 5;
    pub(crate) const AVAIL: u16 = 6;
    pub(crate) const CACHES: u16 = 7;
    pub(crate) const HTLB_PGALLOC: u16 = 8;
    pub(crate) const HTLB_PGFAIL: u16 = 9;
}
