//! Resets: every vCPU's thread drops its vCPU and gets a new one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use tracing::debug;

use super::{Control, PAUSE, RESET, RUN};
use crate::{Event, PowerOn, ResetCause, RunError, VcpuBody, Vcpus};

impl Control {
    /// Has the vCPUs leave for new ones, which start the guest anew. `false` if the run has ended.
    pub fn reset(&self, cause: ResetCause) -> bool {
        let mut phase = self.lock();
        if phase.ending.is_some() {
            return false;
        }
        // Before the start it is as after power-on already.
        if phase.vcpus > 0 && phase.reset.is_none() {
            phase.reset = Some(cause);
            self.request.store(RESET, Ordering::Release);
            drop(phase);
            self.kick_all();
            self.changed.notify_all();
        }
        true
    }

    /// Runs vCPU `index` on this thread, one life after the other, until the run is over; `first` is
    /// its first one. A panic in it is caught, and ends the run.
    pub fn run_vcpu(&self, index: usize, first: VcpuBody, board: &dyn PowerOn) {
        debug!(vcpu = index, "thread began");
        let lives = AssertUnwindSafe(|| {
            let mut next = Some(first);
            while let Some(body) = next.take() {
                match body(self) {
                    Some(ending) => self.end(ending),
                    None => next = self.next_life(index, board),
                }
            }
        });
        if let Err(panic) = catch_unwind(lives) {
            let error = RunError::panicked(&format!("vcpu{index}"), panic.as_ref());
            self.end(Err(error));
        }
        debug!(vcpu = index, "thread ends");
    }

    /// The next life of the thread of vCPU `index`, whose vCPU is gone; `None` when the run has ended.
    /// The last thread that comes here makes the vCPUs of all.
    pub fn next_life(&self, index: usize, board: &dyn PowerOn) -> Option<VcpuBody> {
        let mut phase = self.lock();
        phase.arrived += 1;
        if phase.arrived == phase.vcpus && phase.ending.is_none() {
            drop(phase);
            match board.power_on() {
                Ok(vcpus) => self.begin(vcpus),
                Err(error) => self.end(Err(RunError::Reset(error))),
            }
            phase = self.lock();
        }
        while phase.ending.is_none() {
            if let Some(body) = phase.bodies.get_mut(index).and_then(Option::take) {
                return Some(body);
            }
            phase = self.wait(phase);
        }
        None
    }

    /// Gives each thread its new vCPU.
    fn begin(&self, vcpus: Vcpus) {
        let mut phase = self.lock();
        if phase.ending.is_some() {
            return;
        }
        self.set_vcpus(vcpus.kickers);
        phase.bodies = vcpus.bodies.into_iter().map(Some).collect();
        phase.arrived = 0;
        phase.held.clear();
        self.look_for_work(&mut phase);
        phase.crash = None;
        phase.crash_loaded = false;
        self.boot_log().forget_last_words();
        self.console_is_ready.store(false, Ordering::Relaxed);
        let request = if phase.is_paused() { PAUSE } else { RUN };
        self.request.store(request, Ordering::Release);
        if let Some(cause) = phase.reset.take() {
            self.publish(Event::Reset(cause));
        }
        self.changed.notify_all();
    }
}
