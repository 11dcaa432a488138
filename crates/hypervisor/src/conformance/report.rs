//! How the cases ended.

use std::fmt;

use thiserror::Error;
use vmmkit_guest_memory::{AccessError, LentMemoryError, RamError, RamSizeError, RomError};

use super::Need;

/// Why a case failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Failure {
    /// Something else than promised happened.
    #[error("{what}: {found}, not {promised}")]
    Broken {
        /// The thing examined.
        what: &'static str,
        /// The value found.
        found: String,
        /// The value promised.
        promised: String,
    },
    /// The guest ran on until the watchdog's kick.
    #[error("nothing happened for {0} seconds")]
    Stuck(u64),
    /// The back end refused.
    #[error("the back end refused")]
    Refused(#[from] crate::Error),
    /// There was no memory for the guest.
    #[error("no memory for the guest")]
    Memory(#[from] RamError),
    /// The suite's own memory is wrong.
    #[error("the suite's memory cannot be the guest's")]
    Lent(#[from] LentMemoryError),
    /// There was no ROM for the guest.
    #[error("no ROM for the guest")]
    Rom(#[from] RomError),
    /// The suite's own size is wrong.
    #[error("the size of RAM is wrong")]
    Size(#[from] RamSizeError),
    /// The suite's own address is wrong.
    #[error("the guest's memory could not be accessed")]
    Access(#[from] AccessError),
    /// The host refused an eventfd.
    #[error("eventfd")]
    Host(#[from] std::io::Error),
}

/// How one case ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// As promised.
    Passed,
    /// The back end does not have this.
    NotApplicable(Need),
    /// Not as promised.
    Failed(Failure),
}

/// How all cases ended, in order.
#[derive(Debug)]
pub struct Report {
    name: &'static str,
    results: Vec<(&'static str, Verdict)>,
}

impl Report {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            results: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, case: &'static str, verdict: Verdict) {
        self.results.push((case, verdict));
    }

    /// Each case's name and verdict.
    pub fn results(&self) -> &[(&'static str, Verdict)] {
        &self.results
    }

    /// The names of the cases that failed, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, &Failure)> {
        self.results
            .iter()
            .filter_map(|(name, verdict)| match verdict {
                Verdict::Failed(failure) => Some((*name, failure)),
                _ => None,
            })
    }

    /// How many passed.
    pub fn passed(&self) -> usize {
        self.results
            .iter()
            .filter(|(_, verdict)| matches!(verdict, Verdict::Passed))
            .count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, verdict) in &self.results {
            match verdict {
                Verdict::Passed => writeln!(f, "ok      {name}")?,
                Verdict::NotApplicable(need) => writeln!(f, "n/a     {name} (needs {need:?})")?,
                Verdict::Failed(failure) => {
                    writeln!(f, "FAILED  {name}: {failure}")?;
                    let mut cause = std::error::Error::source(failure);
                    while let Some(source) = cause {
                        writeln!(f, "        because: {source}")?;
                        cause = source.source();
                    }
                }
            }
        }
        let (passed, failed) = (self.passed(), self.failures().count());
        let other = self.results.len() - passed - failed;
        write!(
            f,
            "{}: {passed} passed, {failed} failed, {other} not applicable",
            self.name
        )
    }
}
