//! Images of disks in the formats of other hypervisors, for reading.
//!
//! | format | read | refused |
//! | - | - | - |
//! | qcow2 (QEMU) | versions 2 and 3, compressed by deflate or zstd, subclusters (extended L2 entries) | encrypted ones, data in another file, those with a backing file |
//! | VDI (VirtualBox) | dynamic and fixed | undo and differencing images |
//! | VHD (Virtual PC, Hyper-V) | fixed and dynamic | differencing images |
//! | VMDK (VMware) | hosted sparse extents: monolithicSparse, streamOptimized | text descriptors, which name other files; children of another image |
//!
//! An image is a stranger's: nothing that it says is believed. It names no file, opening it takes memory bounded by
//! its own size, and each place that it names is looked up within it. It is never written, and nothing here knows
//! a device or a guest. Start with [`DiskImage::open`].
//!
//! ```
//! use vmmkit_disk_image::{DiskImage, Format};
//!
//! # fn read(file: std::fs::File) -> Result<(), Box<dyn std::error::Error>> {
//! let image = DiskImage::open(file, Format::Vmdk)?;
//! let mut sector = [0; 512];
//! image.read(&mut sector, 0)?;
//! println!("a disk of {} bytes", image.size());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod clusters;
mod error;
mod fields;
mod file;
mod grains;
mod image;
mod layout;
mod place;
mod qcow2;
mod vdi;
mod vhd;
mod vmdk;

pub use error::ImageError;
pub use file::ReadAt;
pub use image::{DiskImage, Format};
