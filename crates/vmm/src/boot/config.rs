//! The boot of a machine, as its user asks for it.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vmmkit_boot_loader::EntryChoice;

/// The boot of a machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Boot {
    /// A kernel, loaded into RAM and entered there.
    Kernel(KernelBoot),
    /// Firmware that runs from the reset vector: a flat image that ends at 4 GiB. It gets no initrd, command
    /// line or table.
    Firmware(BootFile),
}

impl Boot {
    /// The kernel `image` alone, without an initrd and with an empty command line.
    pub fn kernel(image: impl Into<BootFile>) -> Self {
        Self::Kernel(KernelBoot::new(image))
    }

    /// The kernel or the firmware.
    pub fn image(&self) -> &BootFile {
        match self {
            Self::Kernel(kernel) => &kernel.image,
            Self::Firmware(image) => image,
        }
    }

    /// The kernel and what goes with it; `None` for firmware.
    pub fn as_kernel(&self) -> Option<&KernelBoot> {
        match self {
            Self::Kernel(kernel) => Some(kernel),
            Self::Firmware(_) => None,
        }
    }
}

impl From<KernelBoot> for Boot {
    fn from(kernel: KernelBoot) -> Self {
        Self::Kernel(kernel)
    }
}

/// A kernel and what goes with it.
#[derive(Clone, Debug)]
pub struct KernelBoot {
    /// The kernel: an ELF, a bzImage, a unified kernel image or a flat Multiboot kernel.
    pub image: BootFile,
    /// The initial RAM disk.
    pub initrd: Option<Initrd>,
    /// Boot modules of a kernel entered by PVH or Multiboot.
    pub modules: Vec<Module>,
    /// The kernel's command line. The machine adds to it what the hypervisor asks for, and where devices are
    /// if nothing else tells the kernel.
    pub cmdline: String,
    /// How to enter the kernel.
    pub entry: EntryChoice,
}

impl KernelBoot {
    /// The kernel `image` alone, without an initrd and with an empty command line.
    pub fn new(image: impl Into<BootFile>) -> Self {
        Self {
            image: image.into(),
            initrd: None,
            modules: Vec::new(),
            cmdline: String::new(),
            entry: EntryChoice::Auto,
        }
    }
}

/// An initial RAM disk.
#[derive(Clone, Debug)]
pub struct Initrd {
    /// The archive.
    pub file: BootFile,
    /// Take any file, also one that Linux would not.
    pub any: bool,
}

impl<T: Into<BootFile>> From<T> for Initrd {
    fn from(file: T) -> Self {
        Self {
            file: file.into(),
            any: false,
        }
    }
}

/// A boot module of a kernel entered by PVH or Multiboot.
#[derive(Clone, Debug)]
pub struct Module {
    /// The file, passed on as it is.
    pub file: BootFile,
    /// The string that the kernel gets with it.
    pub arguments: String,
}

/// A file that a guest is booted from. It is opened once, when the machine is built, and read at each
/// power-on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BootFile {
    /// The file at a path.
    Path(PathBuf),
    /// An open regular file. It is read from its start, and its position changes: machines that are built at
    /// the same time need one each.
    Open(Arc<File>),
    /// The bytes that would be in a file.
    Bytes(Arc<[u8]>),
}

impl BootFile {
    /// The path, of one that has one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Open(_) | Self::Bytes(_) => None,
        }
    }

    /// The last part of its path; empty where there is no path.
    pub fn name(&self) -> String {
        let name = self.path().and_then(Path::file_name).unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

impl fmt::Display for BootFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Open(_) => f.write_str("(an open file)"),
            Self::Bytes(bytes) => write!(f, "({} bytes)", bytes.len()),
        }
    }
}

impl From<PathBuf> for BootFile {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl From<&Path> for BootFile {
    fn from(path: &Path) -> Self {
        Self::Path(path.to_owned())
    }
}

impl From<&PathBuf> for BootFile {
    fn from(path: &PathBuf) -> Self {
        Self::Path(path.clone())
    }
}

impl From<&str> for BootFile {
    fn from(path: &str) -> Self {
        Self::Path(path.into())
    }
}

impl From<OsString> for BootFile {
    fn from(path: OsString) -> Self {
        Self::Path(path.into())
    }
}

impl From<File> for BootFile {
    fn from(file: File) -> Self {
        Self::Open(Arc::new(file))
    }
}

impl From<Vec<u8>> for BootFile {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}
