//! Where clients come to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// Where clients come to: `tcp:PORT`, `tcp:ADDRESS:PORT` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A TCP port; of 127.0.0.1 unless an address is given. Port 0 is any that is free.
    Tcp(SocketAddr),
    /// A UNIX socket.
    Unix(PathBuf),
}

/// The text is no [`Place`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlaceError {
    /// It begins with neither word.
    #[error("it is neither tcp:PORT nor unix:PATH")]
    Kind,
    /// The port, or what is before it.
    #[error("this is neither a TCP port, a number from 0 to 65535, nor an address and a port")]
    Port,
    /// `unix:` without a path.
    #[error("the path of the socket is missing")]
    Path,
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        match text.split_once(':') {
            Some(("tcp", rest)) => tcp(rest).ok_or(PlaceError::Port).map(Self::Tcp),
            Some(("unix", "")) => Err(PlaceError::Path),
            Some(("unix", path)) => Ok(Self::Unix(path.into())),
            _ => Err(PlaceError::Kind),
        }
    }
}

fn tcp(text: &str) -> Option<SocketAddr> {
    // `parse` would take a plus sign.
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match is_number {
        true => Some(SocketAddr::new(
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            text.parse().ok()?,
        )),
        false => text.parse().ok(),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_as_it_is_read() {
        for text in ["tcp:127.0.0.1:1234", "tcp:[::1]:0", "unix:/tmp/a:b"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        let port: Place = "tcp:1234".parse().unwrap();
        assert_eq!(port.to_string(), "tcp:127.0.0.1:1234");
    }

    #[test]
    fn what_is_no_place_is_refused() {
        let refused = [
            ("", PlaceError::Kind),
            ("1234", PlaceError::Kind),
            ("udp:1", PlaceError::Kind),
            ("tcp:", PlaceError::Port),
            ("tcp:65536", PlaceError::Port),
            ("tcp:+1", PlaceError::Port),
            ("tcp:-1", PlaceError::Port),
            ("tcp:localhost:1", PlaceError::Port),
            ("unix:", PlaceError::Path),
        ];
        for (text, reason) in refused {
            assert_eq!(text.parse::<Place>(), Err(reason), "{text}");
        }
    }
}
