//! Ports of the host that lead to ports of a guest.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A port of the host, of TCP or UDP, that leads to one of the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ForwardSpec {
    /// It is of UDP.
    #[serde(default)]
    pub udp: bool,
    /// The host's port, from 1 up.
    pub host: u16,
    /// The guest's port, from 1 up.
    pub guest: u16,
}

impl ForwardSpec {
    /// Such ports.
    pub(crate) const WANTED: &str = "HOST:GUEST, ports from 1 to 65535, or udp:HOST:GUEST";

    /// `[tcp:|udp:]HOST[:GUEST]`; the guest's port is the host's where it is left out.
    pub fn parse(text: &str) -> Option<Self> {
        let (udp, ports) = match text.split_once(':') {
            Some(("udp", ports)) => (true, ports),
            Some(("tcp", ports)) => (false, ports),
            _ => (false, text),
        };
        let (host, guest) = ports.split_once(':').unwrap_or((ports, ports));
        Some(Self {
            udp,
            host: port(host)?,
            guest: port(guest)?,
        })
    }
}

fn port(text: &str) -> Option<u16> {
    // `parse` takes a plus sign.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port > 0)
}

impl fmt::Display for ForwardSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.udp { "udp:" } else { "" };
        write!(f, "{protocol}{}:{}", self.host, self.guest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_as_they_are_read() {
        for (text, written) in [
            ("2222:22", "2222:22"),
            ("udp:5353:53", "udp:5353:53"),
            ("tcp:80:8080", "80:8080"),
            ("80", "80:80"),
            ("udp:53", "udp:53:53"),
        ] {
            assert_eq!(ForwardSpec::parse(text).unwrap().to_string(), written);
        }
        for text in [
            "", ":", "0:22", "1:0", "65536:1", "+1:1", "1:2:3", "sctp:1:2", "udp:", "-t",
        ] {
            assert_eq!(ForwardSpec::parse(text), None, "{text}");
        }
    }
}
