//! The pause of a guest that is being saved.

use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use vmmkit_control::{Cause, Controlled, MachineState, Refusal};

use crate::ControlledMachine;

/// A guest that is being saved: it runs until it is to stand still, and then as before.
#[derive(Debug)]
pub struct Standstill<'a> {
    machine: &'a ControlledMachine,
    /// The guest is to run on when it is over.
    goes_on: bool,
    /// The guest has not run before either.
    had_run: bool,
    began: Option<Instant>,
    lasted: Duration,
    refusal: Option<Refusal>,
}

/// The reason is with the standstill.
#[derive(Debug, Error)]
#[error("the guest does not pause")]
struct Refused;

impl<'a> Standstill<'a> {
    /// Of `machine`, which runs on afterwards unless it `stops` then.
    pub(crate) fn of(machine: &'a ControlledMachine, stops: bool) -> Self {
        let had_run = machine.machine().state == MachineState::Running;
        Self {
            machine,
            goes_on: !stops,
            had_run,
            began: None,
            lasted: Duration::ZERO,
            refusal: None,
        }
    }

    /// The guest stands still from now on.
    ///
    /// # Errors
    /// It cannot: saving is to end with this.
    pub fn begin(&mut self) -> Result<(), Cause> {
        self.began.get_or_insert_with(Instant::now);
        self.machine.pause().map_err(|refusal| {
            self.began = None;
            self.refusal = Some(refusal);
            Arc::new(Refused) as Cause
        })
    }

    /// All of it is saved that changes: it runs on, unless it did not before or is to be stopped.
    pub fn end(&mut self) {
        if self.goes_on {
            self.run_on();
        }
    }

    /// It does not run on: it must not now.
    pub(crate) fn stay(&mut self) {
        self.had_run = false;
    }

    fn run_on(&mut self) {
        let Some(began) = self.began.take() else {
            return;
        };
        if self.had_run {
            self.machine.run_on();
        }
        self.lasted = began.elapsed();
    }

    /// The result of saving, which has come to `saved`: how long the guest stood still.
    pub(crate) fn finish(mut self, saved: Result<(), Cause>) -> Result<Duration, Refusal> {
        match saved {
            Ok(()) if !self.goes_on => {
                self.machine.halt();
                let began = self.began.take();
                Ok(began.map(|began| began.elapsed()).unwrap_or_default())
            }
            Ok(()) => {
                self.run_on();
                Ok(self.lasted)
            }
            Err(cause) => Err(self.give_up(Refusal::Unsupported(cause))),
        }
    }

    /// The guest runs on, because of `refusal`, or of the reason why it did not pause.
    pub(crate) fn give_up(mut self, refusal: Refusal) -> Refusal {
        self.run_on();
        self.refusal.take().unwrap_or(refusal)
    }
}
