//! The first line of a host program: `CONNECT <port>\n`.

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

/// The longest line; "CONNECT 4294967295\n" has 19 bytes.
const MAX: usize = 32;

/// The port of a line `CONNECT <port>`, without its end. The word may be in any case, and blanks
/// around both do not count.
pub fn parse_connect(line: &[u8]) -> Option<u32> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let is_connect = words.next()?.eq_ignore_ascii_case("connect");
    let port = words.next()?;
    // `parse` takes a plus sign.
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    if !is_connect || !is_number || words.next().is_some() {
        return None;
    }
    port.parse().ok()
}

/// A line that is being read.
#[derive(Debug, Default)]
pub(super) struct Greeting {
    line: [u8; MAX],
    length: usize,
}

/// How far it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More must come.
    Unfinished,
    /// The guest's port that is asked for.
    Connect(u32),
    /// That is not such a line, or the program is gone.
    Refused,
}

impl Greeting {
    /// Reads what is there of the line from a socket, and nothing behind it.
    pub(super) fn read(&mut self, socket: impl AsFd) -> Progress {
        let socket = socket.as_fd();
        let Some(room) = self.line.get_mut(self.length..) else {
            return Progress::Refused;
        };
        let seen = match recv(socket, &mut *room, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((seen, _)) => seen,
            Err(Errno::AGAIN | Errno::INTR) => return Progress::Unfinished,
            Err(_) => return Progress::Refused,
        };
        let seen = room.get(..seen).unwrap_or_default();
        let end = seen.iter().position(|byte| *byte == b'\n');
        let wanted = end.map_or(seen.len(), |end| end + 1);
        let taken = room.get_mut(..wanted).unwrap_or_default();
        // What was seen is there; fewer is a program that is gone, or nothing at all.
        match recv(socket, taken, RecvFlags::DONTWAIT) {
            Ok((taken, _)) if taken == wanted && taken > 0 => self.length += taken,
            _ => return Progress::Refused,
        }
        let line = self.line.get(..self.length).unwrap_or_default();
        match (end, parse_connect(line)) {
            (None, _) if self.length < MAX => Progress::Unfinished,
            (Some(_), Some(port)) => Progress::Connect(port),
            _ => Progress::Refused,
        }
    }
}
