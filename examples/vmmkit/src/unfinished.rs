//! Changes of a start to the user's files before the machine runs, and how they are undone.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use vmmkit_host_io::{LeftOver, remove_own_socket};

use crate::files::{self, RamFile};
use crate::remote::Remote;

/// Changes to be undone where the start does not come to its end, by an error or by a signal. An error does so
/// by dropping; a signal comes while the thread that builds the machine is somewhere, and has it
/// [undone](Self::undo) beside that.
#[derive(Debug)]
pub(crate) struct Unfinished {
    /// Where sockets for clients are made.
    sockets: Vec<PathBuf>,
    done: Mutex<Done>,
    remote: Arc<Remote>,
}

#[derive(Debug)]
struct Done {
    /// Sockets of processes that have ended, out of the way.
    left_over: Vec<LeftOver>,
    ram: Option<RamFile>,
}

impl Unfinished {
    /// Sets aside what is in the way of `sockets`.
    pub(crate) fn new(sockets: Vec<PathBuf>, ram: Option<RamFile>, remote: Arc<Remote>) -> Self {
        let left_over = files::set_left_over_aside(&sockets);
        Self {
            sockets,
            done: Mutex::new(Done { left_over, ram }),
            remote,
        }
    }

    /// The machine starts: all of it stays.
    pub(crate) fn keep(&self) {
        let mut done = self.done.lock();
        done.left_over.drain(..).for_each(LeftOver::remove);
        if let Some(ram) = done.ram.take() {
            ram.keep();
        }
    }

    /// The process ends now, and what it has made goes.
    pub(crate) fn undo(&self) {
        for path in &self.sockets {
            remove_own_socket(path);
        }
        let mut done = self.done.lock();
        done.left_over.clear();
        done.ram = None;
        self.remote.leave();
    }
}
