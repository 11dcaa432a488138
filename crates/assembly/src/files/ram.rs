//! The file that is the guest's RAM, while the machine is being built.

use std::path::PathBuf;

use vmmkit_guest_memory::Backing;
use vmmkit_host_io::{Holder, lock_file, lock_holder, open_options};

/// Undoes what a start that fails has done to the file that is the guest's RAM.
#[derive(Debug)]
pub struct RamFile {
    path: PathBuf,
    /// It was there, and empty.
    was_there: bool,
}

impl RamFile {
    /// Notes what there is at the path of RAM that is in a file, if something may have to be undone.
    pub fn note(backing: &Backing) -> Option<Self> {
        let Backing::File(path) = backing else {
            return None;
        };
        let size = std::fs::metadata(path).map(|there| there.len());
        let is_to_be_undone = size.as_ref().is_ok_and(|size| *size == 0) || size.is_err();
        is_to_be_undone.then(|| Self {
            path: path.clone(),
            was_there: size.is_ok(),
        })
    }

    /// The machine starts: it stays.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for RamFile {
    fn drop(&mut self) {
        let Ok(file) = open_options().write(true).open(&self.path) else {
            return;
        };
        // One that is locked may be another guest's by now: theirs is the reason why this start has failed.
        // This process itself has it while RAM is being made.
        let own = |holder: Holder| holder.pid == std::process::id();
        if lock_file(&file, false).is_err() && !lock_holder(&file).is_some_and(own) {
            return;
        }
        // The start has failed already; that the file stays behind would be nothing to say beside it.
        let _ = match self.was_there {
            true => file.set_len(0),
            false => std::fs::remove_file(&self.path),
        };
    }
}
