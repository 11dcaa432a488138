//! `--net`.

use std::path::PathBuf;
use std::sync::Arc;

use vmmkit_host_io::Tap;
use vmmkit_virtio_devices::{
    Net, NetAttachment, NetConfig, NetError, NetOptions, RateLimit, VhostUser,
};

use super::words::{self, Words};
use super::{Choice, Plan, failed, rate};
use crate::failure::Failure;
use crate::messages;

const KEYS: &str = "give tap=NAME (and create to have it made), passt=SOCKET or vhost-user=SOCKET, and \
     mac=XX:XX:XX:XX:XX:XX, mtu=N, queues=N, or bandwidth=BYTES and packets=N a second";

/// A network interface, as it was asked for.
#[derive(Debug)]
pub(super) struct NetChoice {
    text: String,
    place: Place,
    options: NetOptions,
}

#[derive(Debug)]
enum Place {
    Attached(NetAttachment),
    /// A tap interface that must be there, unless it may be made.
    Tap {
        interface: String,
        may_be_made: bool,
    },
    VhostUser(PathBuf),
}

impl NetChoice {
    pub(super) fn new(text: &str) -> Result<Self, Failure> {
        let mut words = Words::new("--net", text);
        let tap = words.value("tap")?;
        let passt = words.value("passt")?;
        let vhost_user = words.value("vhost-user")?;
        let place = match (tap, passt, vhost_user) {
            (Some(interface), None, None) => Place::Tap {
                interface: interface.to_owned(),
                may_be_made: words.flag("create")?,
            },
            (None, Some(path), None) => Place::Attached(NetAttachment::Stream {
                path: words::path(path),
            }),
            (None, None, Some(path)) => Place::VhostUser(words::path(path)),
            (None, None, None) => return Err(words.wrong("nothing to attach it to", advice(text))),
            _ => return Err(words.wrong("it is attached to one thing only", KEYS)),
        };
        let limit = RateLimit {
            bandwidth: rate(&mut words, "bandwidth", "bytes a second, such as 64M")?,
            operations: rate(&mut words, "packets", "packets a second, such as 1000")?,
        };
        let mtu = |text: &str| text.parse::<u16>().ok().filter(|mtu| *mtu >= 68);
        let options = NetOptions {
            mac: words.parsed("mac", "an address such as 52:54:00:12:34:56", mac)?,
            mtu: words.parsed("mtu", "a number from 68 to 65535", mtu)?,
            queue_pairs: words
                .parsed("queues", "a number from 1 to 64", words::queues)?
                .unwrap_or(1),
            rate_rx: limit,
            rate_tx: limit,
        };
        words.end(KEYS)?;
        Ok(Self {
            text: text.to_owned(),
            place,
            options,
        })
    }
}

/// What to do about `text`, which names nothing to attach to.
fn advice(text: &str) -> &'static str {
    match text.split([',', '=', ':']).next() {
        Some("user" | "slirp" | "nat" | "usernet") => {
            "start passt --socket passt.sock, and give passt=passt.sock: it needs no privilege"
        }
        Some("bridge" | "br" | "network") => {
            "make a tap in the bridge (ip tuntap add dev tap0 mode tap user $USER; ip link set tap0 master \
             BRIDGE), and give tap=tap0"
        }
        Some("none" | "off") => "leave --net out: there is no interface without it",
        _ => KEYS,
    }
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes = text
        .split(':')
        .map(|byte| (byte.len() == 2).then(|| u8::from_str_radix(byte, 16).ok())?);
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

/// What to do about an attachment that cannot be.
const NEXT: &str = "a tap needs a privilege or an owner: ip tuntap add dev tap0 mode tap user $USER; \
     passt=SOCKET needs none: passt --socket SOCKET";

impl NetChoice {
    /// That the tap interface is there, or may be made.
    fn check(&self, interface: &str, may_be_made: bool) -> Result<(), Failure> {
        let found =
            Tap::exists(interface).map_err(|error| failed("--net", &self.text, &error, NEXT))?;
        if found || may_be_made {
            return Ok(());
        }
        Err(Failure::because(
            format!("--net {}: there is no interface {interface}", self.text),
            Vec::new(),
            format!(
                "give the name of one that is there, make it (ip tuntap add dev {interface} mode tap user \
                 $USER), or add create"
            ),
        ))
    }

    fn attach(&self, attachment: NetAttachment, plan: Plan) -> Result<Plan, Failure> {
        let config = NetConfig {
            attachment,
            options: self.options.clone(),
        };
        let net = Net::new(&config).map_err(|error| {
            let next = match error {
                NetError::Mac(_) => "give one whose first byte is even, such as 52:54:00:12:34:56",
                NetError::Mtu(_) => "give a larger one, such as 1500",
                _ => NEXT,
            };
            failed("--net", &self.text, &error, next)
        })?;
        if let (Some(host), Some(guest)) = (net.host_mtu(), self.options.mtu)
            && host != guest
        {
            messages::say(&format!(
                "--net {}: the guest is told an MTU of {guest}, and the interface has {host}\n  next: sudo \
                 ip link set dev NAME mtu {guest}",
                self.text
            ));
        }
        let text = self.text.clone();
        net.on_lost(move |reason| {
            messages::say(&format!(
                "--net {text}: {reason}; the guest's link is down for good\n  next: start the machine again, \
                 once the other end is there"
            ));
        });
        Ok(plan.with(Arc::new(net)))
    }
}

impl Choice for NetChoice {
    fn option(&self) -> (&'static str, Option<String>) {
        ("--net", Some(self.text.clone()))
    }

    fn takes(&self) -> Option<String> {
        match &self.place {
            Place::Tap { interface, .. } => Some(format!("interface {interface}")),
            Place::VhostUser(path) | Place::Attached(NetAttachment::Stream { path }) => {
                Some(format!("socket {}", path.display()))
            }
            Place::Attached(_) => None,
        }
    }

    fn needs_shared_ram(&self) -> bool {
        matches!(self.place, Place::VhostUser(_))
    }

    fn plug(&self, plan: Plan) -> Result<Plan, Failure> {
        match &self.place {
            Place::Attached(attachment) => self.attach(attachment.clone(), plan),
            Place::Tap {
                interface,
                may_be_made,
            } => {
                self.check(interface, *may_be_made)?;
                let interface = interface.clone();
                self.attach(NetAttachment::Tap { interface }, plan)
            }
            Place::VhostUser(socket) => {
                // Chosen like any other, but not at random: a back end has one guest.
                let mac = self
                    .options
                    .mac
                    .unwrap_or([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
                let next = format!(
                    "start the back end first, such as `passt --vhost-user --socket {}`",
                    socket.display()
                );
                let net = VhostUser::net(socket, mac)
                    .map_err(|error| failed("--net", &self.text, &error, &next))?;
                Ok(plan.with(Arc::new(net)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_attached_to_one_thing() {
        let net = NetChoice::new("tap=tap0,mac=52:54:00:12:34:5a,mtu=1400,queues=2").unwrap();
        assert_eq!(net.options.mac, Some([0x52, 0x54, 0, 0x12, 0x34, 0x5a]));
        assert_eq!((net.options.mtu, net.options.queue_pairs), (Some(1400), 2));
        for text in [
            "",
            "mac=52:54:00:12:34:56",
            "tap=a,passt=b",
            "tap=a,mac=1:2:3:4:5:6",
            "tap=a,mac=52:54:00:12:34",
            "tap=a,mtu=x",
            "tap0",
            "passt=s,create",
        ] {
            assert!(NetChoice::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_tap_that_is_not_there_is_made_only_where_that_is_asked_for() {
        let refused = |text: &str| {
            let choice = NetChoice::new(text).unwrap();
            let Place::Tap {
                interface,
                may_be_made,
            } = &choice.place
            else {
                panic!("{choice:?}");
            };
            let checked = choice.check(interface, *may_be_made);
            checked.err().map(|error| error.text())
        };
        let error = refused("tap=vmmkit-none").unwrap();
        assert!(
            error.contains("there is no interface vmmkit-none"),
            "{error}"
        );
        assert!(error.contains("or add create"), "{error}");
        let error = refused("tap=tap%d,create").unwrap();
        assert!(error.contains("percent"), "{error}");
        assert_eq!(refused("tap=vmmkit-none,create"), None);
        assert_eq!(refused("tap=lo"), None);
    }
}
