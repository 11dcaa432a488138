//! Attributes of files of the host, for the guest.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, fstatfs, statx};
use rustix::io::Errno;

use crate::bytes::Answer;

/// Seconds that the guest keeps names and attributes.
const KEPT: u64 = 1;

/// File systems that show the kernel or processes, by their magic numbers (statfs(2)): procfs, sysfs, cgroup and its
/// second version, debugfs, tracefs, bpf, securityfs, selinuxfs, pstore, efivarfs, configfs, devpts, nsfs, mqueue,
/// binfmt_misc, autofs, sockfs, pipefs, pidfs, resctrl.
const OF_THE_KERNEL: [u64; 20] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0xcafe_4a11,
    0x7363_6673,
    0xf97c_ff8c,
    0x6165_676c,
    0xde5e_81e4,
    0x6265_6570,
    0x1cd1,
    0x6e73_6673,
    0x1980_0202,
    0x4249_4e4d,
    0x0187,
    0x534f_434b,
    0x5049_5045,
    0x5049_4446,
];

/// Which file it is: a number that is used again belongs to another file, which was made at another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    mount: u64,
    device: (u32, u32),
    inode: u64,
    born: (i64, u32),
}

/// A file of the host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub(crate) key: Key,
    pub(crate) kind: FileType,
    /// A directory of the kernel's, which is shown empty.
    pub(crate) is_hidden: bool,
}

impl Node {
    /// The file that `file` is open to, perhaps with O_PATH alone, and its attributes.
    pub(crate) fn of(file: &OwnedFd) -> Result<(Self, Statx), Errno> {
        let found = attributes(file)?;
        let born = match found.stx_mask & StatxFlags::BTIME.bits() {
            0 => (0, 0),
            _ => (found.stx_btime.tv_sec, found.stx_btime.tv_nsec),
        };
        let key = Key {
            mount: found.stx_mnt_id,
            device: (found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
            born,
        };
        let node = Self {
            key,
            kind: FileType::from_raw_mode(found.stx_mode.into()),
            is_hidden: false,
        };
        Ok((node, found))
    }

    /// Whether it is on another mount than `other`.
    pub(crate) fn is_mounted_in(&self, other: &Self) -> bool {
        (self.key.mount, self.key.device) != (other.key.mount, other.key.device)
    }
}

pub(crate) fn attributes(file: impl AsFd) -> Result<Statx, Errno> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID;
    statx(
        file,
        "",
        AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT,
        wanted,
    )
}

/// Whether `file` is of a file system that the kernel makes up.
pub(crate) fn is_of_the_kernel(file: &OwnedFd) -> Result<bool, Errno> {
    let kind = fstatfs(file)?.f_type;
    // It is a number of 32 bits, whatever its type.
    Ok(OF_THE_KERNEL.contains(&(u64::from(kind as u32))))
}

/// struct fuse_attr.
pub(crate) fn put_attributes(answer: &mut Answer, found: &Statx) {
    let times = [&found.stx_atime, &found.stx_mtime, &found.stx_ctime];
    answer
        .u64(found.stx_ino)
        .u64(found.stx_size)
        .u64(found.stx_blocks);
    for time in times {
        answer.u64(time.tv_sec.cast_unsigned());
    }
    for time in times {
        answer.u32(time.tv_nsec);
    }
    let (major, minor) = (found.stx_rdev_major, found.stx_rdev_minor);
    // The kernel's form of 32 bits (new_encode_dev).
    let device = minor & 0xff | major << 8 | (minor & !0xff) << 12;
    answer
        .u32(found.stx_mode.into())
        .u32(found.stx_nlink)
        .u32(found.stx_uid)
        .u32(found.stx_gid)
        .u32(device)
        .u32(found.stx_blksize)
        .u32(0);
}

/// struct fuse_attr_out.
pub(crate) fn put_attributes_answer(answer: &mut Answer, found: &Statx) {
    answer.u64(KEPT).u64(0);
    put_attributes(answer, found);
}

/// struct fuse_entry_out of the inode `node`.
pub(crate) fn put_entry(answer: &mut Answer, node: u64, found: &Statx) {
    // The generation, for which node IDs are not used again; how long name and attributes are kept.
    answer.u64(node).u64(0).u64(KEPT).u64(KEPT).u32(0).u32(0);
    put_attributes(answer, found);
}
