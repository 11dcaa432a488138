//! Configuration of a guest's RAM: plain data, with a default that boots.

use std::path::PathBuf;

use crate::{GuestAddress, Layout, MMIO_HOLE_START, RamError, RamSize};

/// Where the pages of RAM come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backing {
    /// Private anonymous memory: a page costs the host nothing until it is first touched.
    #[default]
    Anonymous,
    /// A memfd, shared: another process that is given the descriptor (vhost-user) maps the same
    /// pages. Its size is sealed, so that no holder can take pages away under the guest.
    Memfd,
    /// A regular file of the host, mapped shared: what the guest writes ends in the file.
    ///
    /// A missing file is created for its owner only (mode 0600), and an empty one is extended with a
    /// hole. One of another size than that of RAM is refused: it is something else. What a file of
    /// that size held before is what the guest finds in its RAM. The file is locked (flock(2)) until
    /// it is unmapped: two guests must not run in one RAM. RAM above the MMIO hole follows RAM below
    /// it in the file without a gap. A process that shortens the file while it is mapped makes
    /// the next access to the lost pages a SIGBUS.
    File(PathBuf),
    /// Huge pages of this many bytes from the host's reserve (2 MiB or 1 GiB on x86-64), in a memfd
    /// that is shared as [`Memfd`](Self::Memfd) is. All of them are reserved at once: a later touch
    /// cannot fail for want of one.
    HugeTlb(u64),
}

/// Advice on transparent huge pages; without meaning for [`Backing::HugeTlb`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ThpAdvice {
    /// The host's own policy (`/sys/kernel/mm/transparent_hugepage/enabled`).
    #[default]
    Host,
    /// Ask for huge pages: faster page walks, and memory in steps of 2 MiB.
    Always,
    /// Ask for none: memory in steps of 4 KiB.
    Never,
}

/// Configuration of a guest's RAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RamConfig {
    /// How much.
    pub size: RamSize,
    /// How much it may become while the guest runs, by plugging memory; more than `size` by a whole
    /// number of blocks of [`BLOCK_SIZE`](crate::BLOCK_SIZE). Without it, `size` is all.
    pub max: Option<RamSize>,
    /// Where the hole below 4 GiB begins: [`MMIO_HOLE_START`], or lower where there is to be more room for devices. RAM
    /// goes on at 4 GiB.
    pub hole_start: GuestAddress,
    /// From where.
    pub backing: Backing,
    /// Advice on transparent huge pages.
    pub thp: ThpAdvice,
    /// Touch every page before the guest starts: no page fault later, and all the memory is used
    /// at once.
    pub prefault: bool,
    /// Let the host keep equal pages of its processes once (KSM, `/sys/kernel/mm/ksm`); for
    /// [`Backing::Anonymous`] only. A guest can tell by the time of a write whether some other
    /// process of the host has a page of the same bytes.
    pub merge: bool,
    /// Let core dumps of this process hold the guest's RAM: for who debugs a guest.
    pub dump: bool,
    /// Keep a log of the VMM's own writes, for snapshots and migration. Off, it costs nothing.
    pub dirty_log: bool,
}

impl RamConfig {
    /// Where it lies.
    pub fn layout(&self) -> Layout {
        Layout::around(self.size, self.hole_start)
    }

    /// Checks that the file of [`Backing::File`] can be had now; it is neither made nor changed. Other
    /// back ends have nothing to check.
    ///
    /// # Errors
    /// As [`GuestRam::new`](crate::GuestRam::new) would have them, of the file alone. That it could not
    /// be made is known only when it is.
    pub fn check_file(&self) -> Result<(), RamError> {
        match &self.backing {
            Backing::File(path) => crate::backing::check_file(path, self.size.bytes()),
            _ => Ok(()),
        }
    }
}

impl Default for RamConfig {
    /// 256 MiB of anonymous memory, under the host's policy, and nothing besides.
    fn default() -> Self {
        Self {
            size: RamSize::mebibytes(256),
            max: None,
            hole_start: MMIO_HOLE_START,
            backing: Backing::Anonymous,
            thp: ThpAdvice::Host,
            prefault: false,
            merge: false,
            dump: false,
            dirty_log: false,
        }
    }
}
