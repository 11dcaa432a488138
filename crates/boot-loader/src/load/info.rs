//! A loaded kernel, and how it is entered.

use vmmkit_guest_memory::GuestAddress;

use crate::Entry;
use crate::memory_map::E820Entry;
use crate::payload::Compression;

/// Contents of RAM after loading, and how to enter the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded {
    /// How the boot processor enters the kernel.
    pub entry: Entry,
    /// Facts about the kernel.
    pub kernel: KernelInfo,
    /// Where the initrd is.
    pub initrd: Option<Placed>,
    /// Where the modules are, the initrd not among them.
    pub modules: Vec<Placed>,
    /// The longest command line this kernel takes, in bytes without the NUL.
    pub cmdline_limit: u32,
    /// The memory map the kernel is told.
    pub e820: Vec<E820Entry>,
    /// The ACPI root pointer, where tables were written.
    pub rsdp: Option<GuestAddress>,
}

/// A range of guest RAM that holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Placed {
    /// Its first address.
    pub start: GuestAddress,
    /// Its size in bytes.
    pub size: u64,
}

/// Facts about a kernel file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelInfo {
    /// The file's format.
    pub format: KernelFormat,
    /// How the kernel is entered.
    pub entry: EntryKind,
    /// Why [`EntryChoice::Auto`](crate::EntryChoice::Auto) did not take the payload of a bzImage.
    pub fallback: Option<Fallback>,
    /// The boot protocol of a bzImage: major, minor.
    pub protocol: Option<(u8, u8)>,
    /// How the payload of a bzImage is compressed, where that is known.
    pub compression: Option<Compression>,
    /// The version string of a bzImage.
    pub version: Option<String>,
    /// The kernel file's size in bytes.
    pub file_bytes: u64,
    /// Bytes of the kernel copied into RAM.
    pub placed_bytes: u64,
    /// The first address after all that the kernel needs before it reads its memory map.
    pub end: GuestAddress,
}

/// The format of a kernel file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelFormat {
    /// An ELF.
    Elf,
    /// A bzImage.
    BzImage,
    /// A bzImage in a unified kernel image.
    Unified,
    /// A flat file with a Multiboot header.
    Flat,
}

/// How a kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind {
    /// The uncompressed kernel by the 64-bit Linux protocol.
    Linux64,
    /// The uncompressed kernel by the 32-bit Linux protocol.
    Linux32,
    /// The bzImage's own decompressor by the 64-bit Linux protocol.
    Setup,
    /// The bzImage's own decompressor, or what it has in its place, by the 32-bit Linux protocol.
    Setup32,
    /// The uncompressed kernel by PVH.
    Pvh,
    /// By Multiboot, version 1.
    Multiboot1,
    /// By Multiboot, version 2.
    Multiboot2,
}

/// Why a bzImage is entered by its own decompressor, though none asked for that.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fallback {
    /// The payload starts with these bytes, which no decompressor here knows (lzo, for one).
    UnknownPayload(Vec<u8>),
    /// The protocol is older than 2.08, or the header gives no payload.
    NoPayload,
}
