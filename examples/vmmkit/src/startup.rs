//! Signals while a machine is being built: they end the process at once, and what it has made goes with it.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use vmmkit_assembly::Unfinished;
use vmmkit_host_io::{
    EventFd, Interest, Poller, Signal, SignalFd, ThreadRole, ThreadSpec, die_by, restore_all,
};

use crate::remote::Remote;

/// The signals that end the process. Nothing runs yet that could be asked to end by itself.
const ENDING: [Signal; 4] = [
    Signal::Hangup,
    Signal::Interrupt,
    Signal::Quit,
    Signal::Terminate,
];

/// A thread that waits for such signals until this is dropped. They are blocked in all threads from
/// the start, for the event loop to read; whatever the building of the machine waits for meanwhile (a
/// file system that hangs, a back end that does not answer, much RAM to be touched) must not hold up
/// the end.
#[derive(Debug)]
pub(crate) struct Startup {
    is_over: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Startup {
    /// Waits from now on; `unfinished` is undone by a signal, and `remote` leaves.
    pub(crate) fn of_machine(
        unfinished: &Arc<Unfinished>,
        remote: &Arc<Remote>,
    ) -> io::Result<Self> {
        let (unfinished, remote) = (unfinished.clone(), remote.clone());
        Self::watch(move || {
            unfinished.undo();
            remote.leave();
        })
    }

    /// Waits from now on; a signal has `undo` called before it ends the process.
    pub(crate) fn watch(undo: impl Fn() + Send + 'static) -> io::Result<Self> {
        let is_over = Arc::new(EventFd::new()?);
        let signals = SignalFd::block(&ENDING)?;
        let poller = Poller::new()?;
        poller.add(&*is_over, 0, Interest::Readable)?;
        poller.add(&signals, 1, Interest::Readable)?;
        let over = is_over.clone();
        let wait = move || {
            let mut ready = Vec::new();
            while !over.is_raised() && poller.wait(&mut ready).is_ok() {
                if let Some(signal) = signals.read() {
                    undo();
                    restore_all();
                    die_by(signal);
                }
            }
        };
        let thread = ThreadSpec::new(ThreadRole::Helper, "startup");
        Ok(Self {
            is_over,
            thread: Some(thread.spawn(wait)?),
        })
    }
}

impl Drop for Startup {
    fn drop(&mut self) {
        self.is_over.notify();
        if let Some(thread) = self.thread.take() {
            // A bug there was told by the panic hook.
            let _ = thread.join();
        }
    }
}
