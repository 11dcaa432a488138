//! Changes of a start to the user's files before the machine runs, and how they are undone.

use std::path::PathBuf;

use parking_lot::Mutex;
use vmmkit_guest_memory::Backing;
use vmmkit_host_io::{LeftOver, remove_own_socket};

use super::RamFile;

/// Changes to be undone where the start does not come to its end, by an error or by a signal. An error does so
/// by dropping; a signal comes while the thread that builds the machine is somewhere, and has it
/// [undone](Self::undo) beside that. It is dropped after the machine, whose sockets have the places of those
/// that are set aside.
#[derive(Debug)]
pub struct Unfinished {
    /// The places where sockets for clients are made.
    sockets: Vec<PathBuf>,
    done: Mutex<Done>,
}

#[derive(Debug)]
struct Done {
    /// Sockets of processes that have ended, out of the way.
    left_over: Vec<LeftOver>,
    ram: Option<RamFile>,
}

impl Unfinished {
    /// Sets aside the sockets that processes have left behind where this one is to make `sockets`; notes what
    /// there is of `ram`.
    pub fn new(sockets: Vec<PathBuf>, ram: &Backing) -> Self {
        let ram = RamFile::note(ram);
        // One that cannot be moved is reported when the other is to be made.
        let aside = |path: &PathBuf| LeftOver::set_aside(path).ok().flatten();
        let left_over = sockets.iter().filter_map(aside).collect();
        Self {
            sockets,
            done: Mutex::new(Done { left_over, ram }),
        }
    }

    /// The machine starts: all of it stays.
    pub fn keep(&self) {
        let mut done = self.done.lock();
        done.left_over.drain(..).for_each(LeftOver::remove);
        if let Some(ram) = done.ram.take() {
            ram.keep();
        }
    }

    /// The process ends now, and what it has made goes.
    pub fn undo(&self) {
        for path in &self.sockets {
            remove_own_socket(path);
        }
        let mut done = self.done.lock();
        done.left_over.clear();
        done.ram = None;
    }
}
