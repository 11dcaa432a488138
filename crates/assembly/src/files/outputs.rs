//! The files that a machine's output goes to.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use thiserror::Error;
use vmmkit_host_io::{Output, OutputPlan, Sharing};

/// A file for output that cannot have its name.
#[derive(Debug, Error)]
#[error("{}: {source}", path.display())]
#[non_exhaustive]
pub struct OutputError {
    /// The file.
    pub path: PathBuf,
    /// The host's reason.
    pub source: io::Error,
}

/// The files for output of a machine that is being built.
#[derive(Debug, Default)]
pub struct Outputs {
    open: Mutex<Vec<(PathBuf, Output)>>,
    /// Nothing will ever be written.
    is_dry: bool,
}

impl Outputs {
    /// Outputs that lead nowhere.
    pub fn dry() -> Self {
        Self {
            is_dry: true,
            ..Self::default()
        }
    }

    /// Whether nothing is made.
    pub fn is_dry(&self) -> bool {
        self.is_dry
    }

    /// Opens the file at `path`, to which bytes are added. One that is not there yet gets its name when
    /// it is [kept](Self::keep). `mode` is that of a new file, less the umask.
    ///
    /// # Errors
    /// The host's.
    pub fn open(&self, path: &Path, sharing: Sharing, mode: u32) -> io::Result<File> {
        if self.is_dry {
            return File::options().write(true).open("/dev/null");
        }
        let output = OutputPlan::new(path, sharing)?.open(mode)?;
        let file = output.file().try_clone()?;
        let mut open = self.open.lock();
        open.push((path.to_owned(), output));
        Ok(file)
    }

    /// All else is well, and the machine starts: files that are new are there from now on.
    ///
    /// # Errors
    /// [`OutputError`]: the first that cannot have its name.
    pub fn keep(&self) -> Result<(), OutputError> {
        let mut open = self.open.lock();
        for (path, output) in open.iter_mut() {
            output.keep().map_err(|source| OutputError {
                path: path.clone(),
                source,
            })?;
        }
        Ok(())
    }
}
