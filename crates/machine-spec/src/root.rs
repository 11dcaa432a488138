//! A directory of the host as a guest's root.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::disk::first_path;
use crate::{Fault, Given, Words};

/// A directory of the host as a guest's root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RootSpec {
    /// The directory.
    pub directory: PathBuf,
    /// The guest may change it; otherwise its writes stay in its memory.
    #[serde(default)]
    pub writable: bool,
}

impl RootSpec {
    /// `DIRECTORY`, and `rw`.
    ///
    /// # Errors
    /// [`Fault`] says what of it cannot be.
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        let mut words = Words::new(given);
        let path = words.first_before(&["rw"]);
        let directory = words.path(path.ok_or(Fault::Missing("directory"))?);
        let writable = words.flag("rw")?;
        words.end()?;
        Ok(Self {
            directory,
            writable,
        })
    }
}

impl fmt::Display for RootSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&first_path(&self.directory))?;
        f.write_str(if self.writable { ",rw" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_written_as_it_is_read() {
        for text in ["/", "/srv/a,,b,rw"] {
            let parsed = RootSpec::parse(&Given::text(text)).unwrap();
            assert_eq!(parsed.to_string(), text);
        }
        for text in ["", "/,ro", "/,rw=x"] {
            assert!(RootSpec::parse(&Given::text(text)).is_err(), "{text}");
        }
    }
}
