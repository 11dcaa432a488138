//! Shared folders.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disk::first_path;
use crate::given::escaped;
use crate::words::queues;
use crate::{Fault, Given, Words};

/// A folder of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FsSpec {
    /// One that this process shares.
    Own(OwnFs),
    /// One that another process shares, a virtiofsd for instance.
    VhostUser(VhostUserFs),
}

/// A folder that this process shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct OwnFs {
    /// The folder.
    pub directory: PathBuf,
    /// The name that the guest mounts it by, at most 36 bytes (virtio 1.2, 5.11.4).
    pub tag: String,
    /// The guest may change it.
    #[serde(default)]
    pub writable: bool,
}

/// A folder that another process shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VhostUserFs {
    /// The socket of the other process.
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
    /// `DIRECTORY,tag=NAME` and `rw`, or `SOCKET,tag=NAME` and `queues=N`. Which of them a path is that has no key,
    /// `directory` or `socket`, is for `is_directory` to say.
    ///
    /// # Errors
    /// [`Fault`] says what of it cannot be.
    pub fn parse(given: &Given, is_directory: impl Fn(&Path) -> bool) -> Result<Self, Fault> {
        let mut words = Words::new(given);
        let directory = words.value("directory")?.map(|word| words.path(word));
        let socket = match directory {
            Some(_) => None,
            None => words.value("socket")?.map(|word| words.path(word)),
        };
        let (directory, socket) = match (directory, socket) {
            (None, None) => {
                let first = words.first_before(&["tag", "queues", "rw"]);
                let path = words.path(first.ok_or(Fault::Missing("directory"))?);
                match is_directory(&path) {
                    true => (Some(path), None),
                    false => (None, Some(path)),
                }
            }
            given => given,
        };
        let tag = words.value("tag")?.ok_or(Fault::Missing("tag"))?.to_owned();
        let spec = match (directory, socket) {
            (Some(directory), _) => Self::Own(OwnFs {
                directory,
                tag,
                writable: words.flag("rw")?,
            }),
            (None, socket) => {
                let queues = words.parsed("queues", "a number from 1 to 64", queues)?;
                Self::VhostUser(VhostUserFs {
                    socket: socket.ok_or(Fault::Missing("directory"))?,
                    tag,
                    queues: queues.unwrap_or(one()),
                })
            }
        };
        words.end()?;
        Ok(spec)
    }

    /// The name that the guest mounts it by.
    pub fn tag(&self) -> &str {
        match self {
            Self::Own(own) => &own.tag,
            Self::VhostUser(other) => &other.tag,
        }
    }
}

impl fmt::Display for FsSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tag = escaped(self.tag());
        match self {
            Self::Own(own) => {
                write!(f, "{},tag={tag}", first_path(&own.directory))?;
                if own.writable {
                    write!(f, ",rw")?;
                }
            }
            Self::VhostUser(other) => {
                write!(f, "{},tag={tag}", first_path(&other.socket))?;
                if other.queues != one() {
                    write!(f, ",queues={}", other.queues)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_written_as_it_is_read() {
        let parsed = |text| FsSpec::parse(&Given::text(text), |path| path.starts_with("/srv"));
        for text in [
            "fs.sock,tag=srv",
            "a,,b,tag=x,queues=2",
            "/srv,tag=x",
            "/srv/it,tag=x,rw",
        ] {
            assert_eq!(parsed(text).unwrap().to_string(), text);
        }
        let keyed = parsed("socket=s,tag=t").unwrap();
        assert_eq!(keyed.to_string(), "s,tag=t");
        let keyed = parsed("directory=d,tag=t").unwrap();
        assert!(matches!(keyed, FsSpec::Own(_)), "{keyed:?}");
        let keyed = parsed("socket=/srv,tag=t").unwrap();
        assert!(matches!(keyed, FsSpec::VhostUser(_)), "{keyed:?}");
        for text in [
            "",
            "s",
            "tag=t",
            "s,tag=t,queues=0",
            "s,tag=",
            "s,tag=t,rw",
            "/srv,tag=t,queues=2",
            "directory=d,socket=s,tag=t",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}
