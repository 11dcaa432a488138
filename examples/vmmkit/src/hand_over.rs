//! The last words between the two processes that have a guest: only one of them runs it.

use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::set_parent_process_death_signal;
use vmmkit_snapshot::stream::{Committed, Received, StreamError};
use vmmkit_vmm::Handle;

use crate::failure::{Failure, chain};
use crate::wire::Wire;

/// Advice where the stream breaks.
const NEXT: &str = "the guest goes on where it was: see there, and start both again";
/// How long the source may take to let go once this side is ready: it waits for the guest's disks for longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A guest that another process still has, or has let go.
#[derive(Debug)]
pub(crate) struct HandOver {
    stage: Mutex<Stage>,
    /// The guest is to run.
    runs: bool,
}

#[derive(Debug)]
enum Stage {
    Received(Received<Wire>),
    Committed(Committed<Wire>),
    Over,
}

impl HandOver {
    /// Of what the source has sent.
    pub(crate) fn new(received: Received<Wire>) -> Self {
        Self {
            runs: received.runs(),
            stage: Mutex::new(Stage::Received(received)),
        }
    }

    /// The machine of `handle` could run, and waits until it may. On an error it must not.
    pub(crate) fn take_over(&self, handle: &Handle) -> Result<(), Failure> {
        let mut stage = self.stage.lock();
        let Stage::Received(mut received) = std::mem::replace(&mut *stage, Stage::Over) else {
            return Ok(());
        };
        received.stream_mut().end_after(PATIENCE);
        let committed = received.ready().map_err(|error| not_given(&error))?;
        *stage = Stage::Committed(committed);
        // It has a parent of its own, or cannot fail.
        let _ = set_parent_process_death_signal(None);
        if !self.runs {
            handle.pause();
        }
        Ok(())
    }

    /// The guest runs here: tells the source.
    pub(crate) fn running(&self) {
        if let Stage::Committed(committed) = std::mem::replace(&mut *self.stage.lock(), Stage::Over)
        {
            committed.running();
        }
    }

    /// The guest does not run here and will not, because of `failure`: tells the source, unless it has been told of the
    /// guest before.
    pub(crate) fn refuse(&self, failure: &Failure) {
        match std::mem::replace(&mut *self.stage.lock(), Stage::Over) {
            Stage::Received(received) => received.refuse(&failure.text()),
            Stage::Committed(committed) => committed.refuse(&failure.text()),
            Stage::Over => {}
        }
    }
}

/// The stream broke.
pub(crate) fn broken(error: &StreamError) -> Failure {
    Failure::host("receive", error, NEXT)
}

/// The failure, with its causes, where the source does not let go.
fn not_given(error: &StreamError) -> Failure {
    let mut causes = chain(error);
    let reason = causes.remove(0);
    let what = format!("receive: the guest was not given to this process: {reason}");
    Failure::because(what, causes, NEXT)
}
