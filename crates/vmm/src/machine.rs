//! A machine and its states: [`Ready`] to start, [`Running`], [`Paused`].

use std::sync::Arc;

use vmmkit_host_io::EventLoop;
use vmmkit_run_control::{Hardware, Vcpus};
use vmmkit_telemetry::Milestone;

use crate::error::StartError;
use crate::handle::{Handle, Shared};
use crate::ready::Ready;
use crate::threads::Threads;
use crate::{Outcome, RunError};

/// A machine in one of its states. Dropping it in any state stops the guest and frees everything.
#[derive(Debug)]
pub struct Machine<S> {
    shared: Arc<Shared>,
    state: S,
}

/// The guest runs, or has ended and waits to be asked how.
#[derive(Debug)]
pub struct Running {
    threads: Threads,
}

/// No vCPU is in the guest, and none enters it unless a [`Handle`] resumes it.
#[derive(Debug)]
pub struct Paused {
    threads: Threads,
}

/// The result of [`Machine::pause`].
#[derive(Debug)]
pub enum PauseOutcome {
    /// The guest is paused.
    Paused(Machine<Paused>),
    /// The guest had ended; [`Machine::wait`] says how.
    Ended(Machine<Running>),
}

impl<S> Machine<S> {
    /// A handle that other threads may use, in any state.
    pub fn handle(&self) -> Handle {
        Handle::new(self.shared.clone())
    }
}

impl Machine<Ready> {
    pub(crate) fn built(
        shared: Shared,
        vcpus: Vcpus,
        board: Arc<dyn Hardware>,
        event_loop: EventLoop,
    ) -> Self {
        shared
            .supervisor
            .control()
            .boot_log()
            .mark(Milestone::Built);
        let state = Ready {
            vcpus,
            board,
            event_loop,
            last: shared.supervisor.last_event(),
        };
        let shared = Arc::new(shared);
        Self { shared, state }
    }

    /// Starts the event loop and the vCPUs.
    ///
    /// # Errors
    /// [`StartError`] where the host refuses a thread; nothing is left running then.
    pub fn start(self) -> Result<Machine<Running>, StartError> {
        let threads = Threads::start(&self.shared, self.state)?;
        Ok(Machine {
            shared: self.shared,
            state: Running { threads },
        })
    }
}

impl Machine<Running> {
    /// Waits for the end of the run: the guest's own doing, [`Handle::stop`], or an error. All of
    /// the console's output has been written when it returns, as far as its reader takes it.
    ///
    /// # Errors
    /// [`RunError`] where the host, the hypervisor or the VMM could not go on.
    pub fn wait(self) -> Result<Outcome, RunError> {
        let ending = self.state.threads.join();
        self.shared.drain_output();
        ending
    }

    /// Takes every vCPU out of the guest.
    pub fn pause(self) -> PauseOutcome {
        let Self { shared, state } = self;
        if shared.pause(None).is_ok() {
            PauseOutcome::Paused(Machine {
                shared,
                state: Paused {
                    threads: state.threads,
                },
            })
        } else {
            PauseOutcome::Ended(Self { shared, state })
        }
    }
}

impl Machine<Paused> {
    /// Lets the guest run on.
    pub fn resume(self) -> Machine<Running> {
        self.handle().resume();
        Machine {
            shared: self.shared,
            state: Running {
                threads: self.state.threads,
            },
        }
    }
}
