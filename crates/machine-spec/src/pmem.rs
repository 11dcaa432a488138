//! Persistent memory.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::disk::first_path;
use crate::{Fault, Given, Words};

/// Persistent memory in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PmemSpec {
    /// The file, of a multiple of 2 MiB.
    pub path: PathBuf,
    /// The guest's writes do not reach the file.
    #[serde(default)]
    pub discard: bool,
}

impl PmemSpec {
    /// `PATH`, and `discard`.
    ///
    /// # Errors
    /// [`Fault`] says what of it cannot be.
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        let mut words = Words::new(given);
        let path = words
            .first_before(&["discard"])
            .ok_or(Fault::Missing("path"))?;
        let path = words.path(path);
        let discard = words.flag("discard")?;
        words.end()?;
        Ok(Self { path, discard })
    }
}

impl fmt::Display for PmemSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&first_path(&self.path))?;
        f.write_str(if self.discard { ",discard" } else { "" })
    }
}
