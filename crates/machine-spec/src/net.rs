//! Network interfaces.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::given::path_word;
use crate::words::queues;
use crate::{Fault, ForwardSpec, Given, RateSpec, Words};

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NetSpec {
    /// Its other end.
    pub attachment: NetAttachmentSpec,
    /// The address; without one it is chosen.
    #[serde(default)]
    pub mac: Option<[u8; 6]>,
    /// The MTU that the guest is told, 68 to 65535 bytes.
    #[serde(default)]
    pub mtu: Option<u16>,
    /// The number of queue pairs, 1 to 64.
    #[serde(default = "one")]
    pub queues: u16,
    /// How much it may receive a second, and transmit.
    #[serde(default)]
    pub rate: RateSpec,
}

/// The other end of a network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetAttachmentSpec {
    /// A tap interface of the host.
    #[serde(rename_all = "kebab-case")]
    Tap {
        /// Its name.
        interface: String,
        /// Make it where there is none.
        #[serde(default)]
        create: bool,
    },
    /// A passt process of the guest's own, which is started with it and ends with it: the user's network.
    #[serde(rename_all = "kebab-case")]
    User {
        /// The ports of the host that lead to the guest.
        #[serde(default)]
        forward: Vec<ForwardSpec>,
    },
    /// A passt process, at its socket.
    Passt(PathBuf),
    /// A back end in another process, at its socket.
    VhostUser(PathBuf),
}

fn one() -> u16 {
    1
}

impl NetSpec {
    /// `tap=NAME`, `user`, `passt=SOCKET` or `vhost-user=SOCKET`, and further words.
    ///
    /// # Errors
    /// [`Fault`] says what of it cannot be.
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        let mut words = Words::new(given);
        let tap = words.value("tap")?;
        let passt = words.value("passt")?;
        let vhost_user = words.value("vhost-user")?;
        let user = words.flag("user")?;
        let attachment = match (tap, passt, vhost_user) {
            (None, None, None) if user => NetAttachmentSpec::User {
                forward: forward(words.values("forward")?)?,
            },
            _ if user => return Err(Fault::AttachedTwice),
            (Some(interface), None, None) => NetAttachmentSpec::Tap {
                interface: interface.to_owned(),
                create: words.flag("create")?,
            },
            (None, Some(path), None) => NetAttachmentSpec::Passt(words.path(path)),
            (None, None, Some(path)) => NetAttachmentSpec::VhostUser(words.path(path)),
            (None, None, None) => return Err(Fault::Unattached),
            _ => return Err(Fault::AttachedTwice),
        };
        let rate = RateSpec::take(&mut words, "packets", "packets a second, such as 1000")?;
        let mtu = |text: &str| text.parse::<u16>().ok().filter(|mtu| *mtu >= 68);
        let net = Self {
            attachment,
            mac: words
                .parsed("mac", "an address such as 52:54:00:12:34:56", mac)?
                .map(unicast)
                .transpose()?,
            mtu: words.parsed("mtu", "a number from 68 to 65535", mtu)?,
            queues: words
                .parsed("queues", "a number from 1 to 64", queues)?
                .unwrap_or(one()),
            rate,
        };
        words.end()?;
        Ok(net)
    }

    /// The socket at its other end, if it is one.
    pub fn socket(&self) -> Option<&Path> {
        match &self.attachment {
            NetAttachmentSpec::Tap { .. } | NetAttachmentSpec::User { .. } => None,
            NetAttachmentSpec::Passt(socket) | NetAttachmentSpec::VhostUser(socket) => Some(socket),
        }
    }
}

fn forward(values: Vec<&str>) -> Result<Vec<ForwardSpec>, Fault> {
    let forward = |text: &str| {
        ForwardSpec::parse(text).ok_or_else(|| Fault::NotA {
            key: "forward",
            value: text.to_owned(),
            wanted: ForwardSpec::WANTED,
        })
    };
    values.into_iter().map(forward).collect()
}

/// An interface has an address of its own: neither a group's (IEEE 802, the first byte is odd) nor zero.
fn unicast(mac: [u8; 6]) -> Result<[u8; 6], Fault> {
    match mac {
        [0, 0, 0, 0, 0, 0] => Err(Fault::ZeroMac),
        [first, ..] if first & 1 == 1 => Err(Fault::GroupMac { first }),
        _ => Ok(mac),
    }
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes = text
        .split(':')
        .map(|byte| (byte.len() == 2).then(|| u8::from_str_radix(byte, 16).ok())?);
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

impl fmt::Display for NetSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.attachment {
            NetAttachmentSpec::Tap { interface, create } => {
                write!(f, "tap={}", crate::given::escaped(interface))?;
                if *create {
                    f.write_str(",create")?;
                }
            }
            NetAttachmentSpec::User { forward } => {
                f.write_str("user")?;
                for port in forward {
                    write!(f, ",forward={port}")?;
                }
            }
            NetAttachmentSpec::Passt(socket) => write!(f, "passt={}", path_word(socket))?,
            NetAttachmentSpec::VhostUser(socket) => write!(f, "vhost-user={}", path_word(socket))?,
        }
        if let Some([a, b, c, d, e, last]) = self.mac {
            write!(f, ",mac={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{last:02x}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, ",mtu={mtu}")?;
        }
        if self.queues != one() {
            write!(f, ",queues={}", self.queues)?;
        }
        for word in self.rate.words("packets") {
            write!(f, ",{word}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<NetSpec, Fault> {
        NetSpec::parse(&Given::text(text))
    }

    #[test]
    fn an_interface_is_attached_to_one_thing() {
        let net = parsed("tap=tap0,mac=52:54:00:12:34:5a,mtu=1400,queues=2").unwrap();
        assert_eq!(net.mac, Some([0x52, 0x54, 0, 0x12, 0x34, 0x5a]));
        assert_eq!((net.mtu, net.queues), (Some(1400), 2));
        for text in [
            "",
            "mac=52:54:00:12:34:56",
            "tap=a,passt=b",
            "tap=a,mac=1:2:3:4:5:6",
            "tap=a,mac=52:54:00:12:34",
            "tap=a,mtu=x",
            "tap0",
            "passt=s,create",
            "user,passt=s",
            "user,forward=x",
            "user,forward",
            "tap=a,forward=1:1",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_interface_is_written_as_it_is_read() {
        for text in [
            "tap=tap0,create,mac=52:54:00:12:34:5a,mtu=1400,queues=2,bandwidth=1M,packets=9",
            "passt=a,,b",
            "user",
            "user,forward=2222:22,forward=udp:5353:53,mac=52:54:00:12:34:5a",
            "vhost-user=s",
        ] {
            assert_eq!(parsed(text).unwrap().to_string(), text);
        }
    }
}
