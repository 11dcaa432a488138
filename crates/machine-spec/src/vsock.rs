//! Sockets between guest and host.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::given::path_word;
use crate::{Fault, Given, Words};

/// Sockets between guest and host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VsockSpec {
    /// The guest's CID, 3 to 4294967294 (virtio 1.2, 5.10.4).
    pub cid: u64,
    /// Programs of the host connect there; the guest reaches those that listen at the same path with `_PORT`.
    pub socket: PathBuf,
}

impl VsockSpec {
    /// `cid=N,socket=PATH`.
    ///
    /// # Errors
    /// [`Fault`] says what of it cannot be.
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        let mut words = Words::new(given);
        let cid = words.parsed("cid", "a number from 3 to 4294967294", |text| {
            text.parse()
                .ok()
                .filter(|cid| (3..0xffff_ffff).contains(cid))
        })?;
        let socket = words.value("socket")?;
        let cid = cid.ok_or(Fault::Missing("cid"))?;
        let socket = words.path(socket.ok_or(Fault::Missing("socket"))?);
        words.end()?;
        Ok(Self { cid, socket })
    }
}

impl fmt::Display for VsockSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cid={},socket={}", self.cid, path_word(&self.socket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_words_are_needed() {
        let parsed = |text| VsockSpec::parse(&Given::text(text));
        let vsock = parsed("socket=v.sock,cid=3").unwrap();
        assert_eq!(vsock.to_string(), "cid=3,socket=v.sock");
        for text in [
            "",
            "cid=3",
            "socket=v",
            "cid=2,socket=v",
            "cid=3,socket=v,x",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}
