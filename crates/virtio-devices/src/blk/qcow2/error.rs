//! Why an image cannot be used.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why an image cannot be used (docs/interop/qcow2 of QEMU).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Qcow2Error {
    /// It does not begin as an image does.
    #[error("this is not a qcow2 image")]
    NotAnImage,
    /// A version of the format that nobody here knows.
    #[error("it is of version {0} of the format: 2 and 3 are supported")]
    Version(u32),
    /// Its clusters are encrypted.
    #[error("it is encrypted ({})", encryption(*.0))]
    Encrypted(u32),
    /// Incompatible features, bit 0: refcounts may be wrong.
    #[error("it was not closed, and its refcounts may be wrong (dirty bit)")]
    Dirty,
    /// Incompatible features, bit 1: somebody found it damaged.
    #[error("it is marked as corrupt")]
    Corrupt,
    /// Incompatible features, bit 2: it names a file of the host's for the guest's data, which is
    /// never opened.
    #[error("its data is in another file, which it names (external data file)")]
    ExternalData,
    /// Incompatible features, bit 3: clusters are compressed otherwise than by deflate.
    #[error("its clusters are compressed by {}", compression(*.0))]
    Compression(u8),
    /// Incompatible features, bit 4: entries of 16 bytes.
    #[error("it has extended L2 entries (subclusters)")]
    ExtendedL2,
    /// Incompatible features that nobody here knows.
    #[error("it has incompatible features that are not known: {0:#x}")]
    Incompatible(u64),
    /// Its contents do not go together.
    #[error(transparent)]
    Damaged(Damage),
    /// It has more clusters than can be checked.
    #[error("its file is too large: {clusters} clusters of {size} bytes")]
    TooLarge {
        /// Clusters of the file.
        clusters: u64,
        /// The size of a cluster in bytes.
        size: u64,
    },
    /// It names a backing file, and none may be opened.
    #[error("it names a backing file, {name}{}", stated(.format.as_deref()))]
    Backing {
        /// The name, as it stands in the image.
        name: String,
        /// The format that the image states.
        format: Option<String>,
    },
    /// A backing file whose format the image does not state.
    #[error("it does not state the format of its backing file {name}")]
    BackingWithoutFormat {
        /// The name, as it stands in the image.
        name: String,
    },
    /// A backing file of another format.
    #[error("its backing file {name} has the format {format}, which is not read")]
    BackingFormat {
        /// The name, as it stands in the image.
        name: String,
        /// The format that the image states.
        format: String,
    },
    /// A backing file that is not named by a path.
    #[error("its backing file is {name}: a path, or file: before one, is supported")]
    BackingName {
        /// The name, as it stands in the image.
        name: String,
    },
    /// A backing file that is behind itself.
    #[error("its backing file {} is behind itself", .0.display())]
    BackingLoop(PathBuf),
    /// Too many images behind each other.
    #[error("more than {0} backing files are behind each other")]
    BackingDepth(usize),
    /// A file behind it cannot be opened.
    #[error("its backing file {} cannot be opened", path.display())]
    BackingOpen {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Box<super::super::BlockError>,
    },
    /// An image behind it cannot be used.
    #[error("its backing file {} cannot be used", path.display())]
    BackingImage {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Box<Qcow2Error>,
    },
    /// An image behind it cannot be read, or is damaged.
    #[cfg(feature = "images")]
    #[error(transparent)]
    Image(#[from] vmmkit_disk_image::ImageError),
    /// The host, or the reader of the format.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Qcow2Error {
    /// Whether the image is of a kind that is read and not written: of clusters compressed by zstd, or with
    /// extended L2 entries.
    #[cfg(feature = "images")]
    pub(in crate::blk) fn is_readable(&self) -> bool {
        matches!(self, Self::Compression(1) | Self::ExtendedL2)
    }
}

/// The parts of an image that do not go together. Offsets are in bytes of the file.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// A number of the header that the format does not allow.
    #[error("its header has a {0} that cannot be")]
    Header(&'static str),
    /// A table is larger than the format's users make it.
    #[error("its header has a table of a size that cannot be")]
    TableSize,
    /// The L1 table does not cover the disk.
    #[error("its L1 table is too small for its disk")]
    ShortL1,
    /// Something does not begin where a cluster does.
    #[error("{what} at {offset:#x} is not at the beginning of a cluster")]
    Misaligned {
        /// The thing.
        what: &'static str,
        /// Its place.
        offset: u64,
    },
    /// Something is not in the file.
    #[error("{what} at {offset:#x} lies behind the end of the file")]
    BeyondEnd {
        /// The thing.
        what: &'static str,
        /// Its place.
        offset: u64,
    },
    /// A cluster is used twice.
    #[error("{what} at {offset:#x} lies where something else does")]
    UsedTwice {
        /// The second user.
        what: &'static str,
        /// Its place.
        offset: u64,
    },
    /// A cluster is used and not counted.
    #[error("it counts what it uses at {0:#x} as free")]
    Uncounted(u64),
}

impl From<Damage> for Qcow2Error {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

fn encryption(method: u32) -> String {
    match method {
        1 => "AES".to_owned(),
        2 => "LUKS".to_owned(),
        method => format!("method {method}"),
    }
}

fn compression(kind: u8) -> String {
    match kind {
        1 => "zstd".to_owned(),
        kind => format!("method {kind}"),
    }
}

fn stated(format: Option<&str>) -> String {
    format.map_or_else(String::new, |format| format!(" (format {format})"))
}
