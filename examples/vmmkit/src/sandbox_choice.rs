//! `--sandbox`: how the process of a guest is confined.

use std::fmt;

use vmmkit_machine_spec::{Given, Unknown};

/// How the process is confined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SandboxChoice {
    /// It is not.
    Off,
    /// Files are closed and privileges dropped, and system calls that it does not need are logged.
    Log,
    /// They end the process.
    #[default]
    On,
}

impl SandboxChoice {
    /// Their words.
    pub(crate) const WORDS: &'static [&'static str] = &["on", "log", "off"];

    /// One of [`WORDS`](Self::WORDS).
    pub(crate) fn parse(given: &Given) -> Result<Self, Unknown> {
        match given.as_text() {
            "off" => Ok(Self::Off),
            "log" => Ok(Self::Log),
            "on" => Ok(Self::On),
            _ => Err(Unknown::Action),
        }
    }
}

impl fmt::Display for SandboxChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Log => "log",
            Self::On => "on",
        })
    }
}
