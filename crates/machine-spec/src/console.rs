//! Consoles.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Fault, Given, Unknown, path_text};

/// Where a console is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsoleSpec {
    /// stdin and stdout of this process.
    Stdio,
    /// Nowhere.
    Null,
    /// A new pseudo-terminal.
    Pty,
    /// Output to the end of a file; no input.
    File(PathBuf),
    /// A UNIX socket, to which clients come and from which they go.
    Socket(PathBuf),
}

impl ConsoleSpec {
    /// How each begins.
    pub const WORDS: &'static [&'static str] = &["stdio", "null", "pty", "file=", "socket="];

    /// `stdio`, `null`, `pty`, `file=PATH` or `socket=PATH`. A comma is part of a path.
    ///
    /// # Errors
    /// [`Fault`] for another place, or one without its path.
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        let text = given.as_text();
        match text.split_once('=') {
            None if text == "stdio" => Ok(Self::Stdio),
            None if text == "null" => Ok(Self::Null),
            None if text == "pty" => Ok(Self::Pty),
            None if text == "file" => Err(Fault::NoPath { place: "file" }),
            None if text == "socket" => Err(Fault::NoPath { place: "socket" }),
            Some(("file", "")) => Err(Fault::EmptyPath { place: "file" }),
            Some(("socket", "")) => Err(Fault::EmptyPath { place: "socket" }),
            Some(("file", path)) => Ok(Self::File(given.path(path))),
            Some(("socket", path)) => Ok(Self::Socket(given.path(path))),
            _ => Err(Unknown::Place.into()),
        }
    }

    /// The path of its socket, if it is one.
    pub fn socket(&self) -> Option<&Path> {
        match self {
            Self::Socket(path) => Some(path),
            _ => None,
        }
    }
}

impl fmt::Display for ConsoleSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdio => f.write_str("stdio"),
            Self::Null => f.write_str("null"),
            Self::Pty => f.write_str("pty"),
            Self::File(path) => write!(f, "file={}", path_text::of_path(path)),
            Self::Socket(path) => write!(f, "socket={}", path_text::of_path(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_as_it_is_read() {
        let parsed = |text| ConsoleSpec::parse(&Given::text(text));
        for text in [
            "stdio",
            "null",
            "pty",
            "file=/tmp/a=b",
            "file=a,b",
            "socket=/tmp/s",
        ] {
            assert_eq!(parsed(text).unwrap().to_string(), text);
        }
        for text in [
            "", "tcp", "tcp=1", "file", "file=", "socket=", "stdio=1", "STDIO",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
        let moved = Given::text("file=s.log").in_folder(Path::new("/vm"));
        let moved = ConsoleSpec::parse(&moved).unwrap();
        assert_eq!(moved.to_string(), "file=/vm/s.log");
    }
}
