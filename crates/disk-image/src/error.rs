//! Why an image cannot be read.

use std::io;

use thiserror::Error;

/// Why an image cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The host's reason.
    #[error(transparent)]
    Host(#[from] io::Error),
    /// It does not begin, or end, as such an image does.
    #[error("it is not a {0} image")]
    Magic(&'static str),
    /// A version or a kind that is not read.
    #[error("{what} {value}: not one that is read here")]
    Unsupported {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// It holds the changes of another image, which is not opened.
    #[error("it has only the changes to another image, which it names")]
    Child,
    /// Its data is in other files, which are not opened.
    #[error("its data is in other files, which it names")]
    Descriptor,
    /// A field that cannot be as it is.
    #[error("{what} is {value}")]
    Field {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// A structure that does not lie in the file.
    #[error("{what} ends at {end}, after the end of the file at {size}")]
    Beyond {
        /// The structure.
        what: &'static str,
        /// Its end in bytes.
        end: u64,
        /// The file's size in bytes.
        size: u64,
    },
    /// The sum of a structure's bytes is another.
    #[error("the checksum of {0} is wrong")]
    Checksum(&'static str),
}
