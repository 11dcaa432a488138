//! Disks.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::given::{escaped, path_word};
use crate::words::{queues, switch};
use crate::{Fault, Given, RateSpec, Words};

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskSpec {
    /// An image or a block device that this process opens.
    Own(OwnDisk),
    /// A disk of another process, at its socket.
    VhostUser(PathBuf),
}

/// An image or a block device that this process opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct OwnDisk {
    /// The image or the block device.
    pub path: PathBuf,
    /// The guest may not write.
    #[serde(default)]
    pub read_only: bool,
    /// The guest may write, and nothing is left of it at its end.
    #[serde(default)]
    pub snapshot: bool,
    /// Without the host's page cache (O_DIRECT).
    #[serde(default)]
    pub direct: bool,
    /// The serial number that the guest sees, at most 20 bytes (virtio 1.2, 5.2.6).
    #[serde(default)]
    pub serial: String,
    /// The number of queues, 1 to 64.
    #[serde(default = "one")]
    pub queues: u16,
    /// The format; without it that which the image's start says.
    #[serde(default)]
    pub format: Option<DiskFormat>,
    /// Open the backing files that an image names.
    #[serde(default)]
    pub backing: bool,
    /// The bytes of a block that the guest sees, 512 or 4096.
    #[serde(default = "sector")]
    pub block_size: u32,
    /// How requests reach the host.
    #[serde(default)]
    pub backend: DiskBackend,
    /// How much it may do a second.
    #[serde(default)]
    pub rate: RateSpec,
}

words_of! {
    /// The format of an image.
    DiskFormat {
        /// The bytes of the disk.
        #[default]
        Raw = "raw",
        /// QEMU's qcow2.
        Qcow2 = "qcow2",
        /// VirtualBox's, for reading.
        Vdi = "vdi",
        /// Of Virtual PC and Hyper-V, for reading.
        Vhd = "vhd",
        /// VMware's in one file, for reading.
        Vmdk = "vmdk",
    }
}

words_of! {
    /// How requests reach the host.
    DiskBackend {
        /// As fits the disk.
        #[default]
        Auto = "auto",
        /// One system call after the other.
        Sync = "sync",
        /// io_uring.
        Uring = "uring",
    }
}

fn one() -> u16 {
    1
}

fn sector() -> u32 {
    512
}

impl OwnDisk {
    /// The disk at `path`, as it is without further words.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            read_only: false,
            snapshot: false,
            direct: false,
            serial: String::new(),
            queues: one(),
            format: None,
            backing: false,
            block_size: sector(),
            backend: DiskBackend::default(),
            rate: RateSpec::default(),
        }
    }
}

impl DiskSpec {
    /// `PATH,key=value,flag`, or `vhost-user=SOCKET`.
    ///
    /// # Errors
    /// [`Fault`] says what of it cannot be.
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        let mut words = Words::new(given);
        let disk = match words.value("vhost-user")? {
            Some(socket) => Self::VhostUser(words.path(socket)),
            None => Self::Own(own(&mut words)?),
        };
        words.end()?;
        Ok(disk)
    }

    /// The socket of the process that has the disk, if another one does.
    pub fn socket(&self) -> Option<&Path> {
        match self {
            Self::VhostUser(socket) => Some(socket),
            Self::Own(_) => None,
        }
    }
}

/// The keys that may follow the path.
const KEYS: &[&str] = &[
    "readonly",
    "snapshot",
    "direct",
    "serial",
    "queues",
    "format",
    "backing",
    "block-size",
    "backend",
    "iops",
    "bandwidth",
];

fn own(words: &mut Words<'_>) -> Result<OwnDisk, Fault> {
    let path = words.first_before(KEYS).ok_or(Fault::Missing("path"))?;
    let block_size = |text: &str| match text {
        "512" => Some(512),
        "4096" | "4K" | "4k" => Some(4096),
        _ => None,
    };
    let defaults = OwnDisk::new(words.path(path));
    Ok(OwnDisk {
        read_only: words.flag("readonly")?,
        snapshot: words.flag("snapshot")?,
        direct: words.flag("direct")?,
        block_size: words
            .parsed("block-size", "512 or 4096", block_size)?
            .unwrap_or(defaults.block_size),
        serial: words.value("serial")?.unwrap_or_default().to_owned(),
        queues: words
            .parsed("queues", "a number from 1 to 64", queues)?
            .unwrap_or(defaults.queues),
        format: words.parsed("format", "raw, qcow2, vdi, vhd or vmdk", DiskFormat::named)?,
        backing: words
            .parsed("backing", "on or off", switch)?
            .unwrap_or(false),
        backend: words
            .parsed("backend", "auto, sync or uring", DiskBackend::named)?
            .unwrap_or_default(),
        rate: RateSpec::take(words, "iops", "requests a second, such as 1000")?,
        path: defaults.path,
    })
}

impl fmt::Display for DiskSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(disk) => disk.fmt(f),
            Self::VhostUser(socket) => write!(f, "vhost-user={}", path_word(socket)),
        }
    }
}

impl fmt::Display for OwnDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&first_path(&self.path))?;
        for (is_on, word) in [
            (self.read_only, "readonly"),
            (self.snapshot, "snapshot"),
            (self.direct, "direct"),
            (self.backing, "backing=on"),
        ] {
            if is_on {
                write!(f, ",{word}")?;
            }
        }
        if !self.serial.is_empty() {
            write!(f, ",serial={}", escaped(&self.serial))?;
        }
        if self.queues != one() {
            write!(f, ",queues={}", self.queues)?;
        }
        if let Some(format) = self.format {
            write!(f, ",format={format}")?;
        }
        if self.block_size != sector() {
            write!(f, ",block-size={}", self.block_size)?;
        }
        if self.backend != DiskBackend::default() {
            write!(f, ",backend={}", self.backend)?;
        }
        for word in self.rate.words("iops") {
            write!(f, ",{word}")?;
        }
        Ok(())
    }
}

/// A path as the first word of a value: one that might be read as a key with a value is said to be a path.
pub(crate) fn first_path(path: &Path) -> String {
    let word = path_word(path);
    match word.contains('=') {
        true => format!("path={word}"),
        false => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<DiskSpec, Fault> {
        DiskSpec::parse(&Given::text(text))
    }

    fn own(text: &str) -> OwnDisk {
        match parsed(text).unwrap() {
            DiskSpec::Own(disk) => disk,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_disk_is_a_path_and_what_follows() {
        let plain = own("a=b.img");
        assert_eq!(plain, OwnDisk::new("a=b.img"));
        let full =
            own("d.img,readonly,direct,serial=s1,queues=4,format=qcow2,backend=sync,iops=10");
        assert!(full.read_only && full.direct);
        assert_eq!((full.serial.as_str(), full.queues), ("s1", 4));
        assert_eq!(full.format, Some(DiskFormat::Qcow2));
        assert_eq!(full.backend, DiskBackend::Sync);
        let sizes = (full.block_size, own("d,block-size=4096").block_size);
        assert_eq!(sizes, (512, 4096));
        assert_eq!(full.rate.operations.unwrap().get(), 10);
    }

    #[test]
    fn what_is_not_a_disk_is_refused() {
        for text in [
            "",
            "d,ro",
            "d,queues=x",
            "d,format=vhdx",
            "d,iops=0",
            "d,block-size=1024",
            "d,block-size=",
            "vhost-user=",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_disk_is_written_as_it_is_read() {
        for text in [
            "path=a=b.img",
            "path=iops=7",
            "a,,b.img,readonly,direct,backing=on,serial=a,,b,queues=2",
            "d,format=qcow2,block-size=4096,backend=uring,bandwidth=64M,iops=7",
            "d,bandwidth=1000",
            "vhost-user=a,,b",
            "path=vhost-user=x",
        ] {
            assert_eq!(parsed(text).unwrap().to_string(), text);
        }
        assert_eq!(parsed("./file=x").unwrap().to_string(), "path=./file=x");
    }
}
