//! Shared folders.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::disk::first_path;
use crate::given::escaped;
use crate::words::queues;
use crate::{Fault, Given, Words};

/// A folder of the host, via virtiofsd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FsSpec {
    /// The socket of a virtiofsd.
    pub socket: PathBuf,
    /// The name that the guest mounts it by, at most 36 bytes (virtio 1.2, 5.11.4).
    pub tag: String,
    /// The number of request queues, 1 to 64.
    #[serde(default = "one")]
    pub queues: u16,
}

fn one() -> u16 {
    1
}

impl FsSpec {
    /// `SOCKET,tag=NAME`, and `queues=N`.
    ///
    /// # Errors
    /// [`Fault`] says what of it cannot be.
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        let mut words = Words::new(given);
        let socket = match words.value("socket")? {
            Some(socket) => Some(socket),
            None => words.first_before(&["tag", "queues"]),
        };
        let socket = words.path(socket.ok_or(Fault::Missing("socket"))?);
        let tag = words.value("tag")?.ok_or(Fault::Missing("tag"))?.to_owned();
        let queues = words.parsed("queues", "a number from 1 to 64", queues)?;
        words.end()?;
        Ok(Self {
            socket,
            tag,
            queues: queues.unwrap_or(one()),
        })
    }
}

impl fmt::Display for FsSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (socket, tag) = (first_path(&self.socket), escaped(&self.tag));
        write!(f, "{socket},tag={tag}")?;
        if self.queues != one() {
            write!(f, ",queues={}", self.queues)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_written_as_it_is_read() {
        let parsed = |text| FsSpec::parse(&Given::text(text));
        for text in ["fs.sock,tag=srv", "a,,b,tag=x,queues=2"] {
            assert_eq!(parsed(text).unwrap().to_string(), text);
        }
        let keyed = parsed("socket=s,tag=t").unwrap();
        assert_eq!(keyed.to_string(), "s,tag=t");
        for text in ["", "s", "tag=t", "s,tag=t,queues=0", "s,tag="] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}
